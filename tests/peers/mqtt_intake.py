"""An MQTT intake in a process of its own whose disk never answers; killed by a test.

    python -m tests.peers.mqtt_intake '<JSON of the device entry>'

Prints `taken <id>` for every record that it was given and could not make durable yet.
"""

from __future__ import annotations

import asyncio
import sys

from drivers.contract import Batch, DriverPoint, Receipt, SourceEvent
from drivers.intake.settings import ExternalAddress
from drivers.intake_mqtt.config import MqttIntakeConfig
from drivers.intake_mqtt.driver import MqttIntake
from gateway.runtime.clock import SystemClock


async def emit(item: Batch | SourceEvent) -> Receipt:
    """Take an item and never say that it is durable, but for what the intake says of itself."""
    receipt: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    if isinstance(item, SourceEvent) and item.kind == "intake.welding":
        print("taken", item.attributes["id"], flush=True)
    else:
        receipt.set_result(None)
    return receipt


if __name__ == "__main__":
    config = MqttIntakeConfig.model_validate_json(sys.argv[1])
    points = [DriverPoint(1, "records", ExternalAddress(id="#records"), 2)]
    asyncio.run(MqttIntake("iot", config, points, SystemClock()).run(emit))
