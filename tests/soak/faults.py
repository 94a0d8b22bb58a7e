"""Every kind of fault of the soak: how it is made, how it must show, how it ends."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from drivers.contract import Quality
from tests.soak.plant import Plant

LINK = frozenset({Quality.BAD_COMM_FAILURE, Quality.BAD_NOT_CONNECTED})
Act = Callable[[], Awaitable[object] | object]


@dataclass(frozen=True, slots=True)
class Fault:
    """One kind. points: which must get one of `qualities`; events: kinds that must come.

    again: made anew while it has not shown, for what happens at one moment.
    """

    name: str
    source: str
    begin: Act
    end: Act
    points: Sequence[int] = ()
    qualities: frozenset[int] = field(default=frozenset())
    events: Sequence[str] = ()
    again: bool = False


async def act(what: Act) -> None:
    """Do something that may be a coroutine."""
    done = what()
    if inspect.isawaitable(done):
        await done


def _nothing() -> None:
    return None


def _setter(thing: object, name: str, value: object) -> Act:
    return lambda: setattr(thing, name, value)


def kinds(plant: Plant) -> list[Fault]:
    """All kinds of fault of a plant."""
    return [*_plc(plant), *_bus(plant), *_states(plant), *_serial(plant), *_opcua(plant),
            *_intakes(plant)]  # fmt: skip


def _plc(plant: Plant) -> list[Fault]:
    """Modbus TCP: what a device can do wrong, and its cable."""
    server, ids = plant.plc, plant.ids["plc"]
    faults = server.device.faults

    def refuse(code: int) -> Act:
        return lambda: faults.exceptions.append((3, 2, 4, code))

    async def allow_and_reconnect() -> None:
        faults.exceptions.clear()  # illegal addresses are asked again at each reconnection
        await server.stop()
        await server.start()

    comm, down = frozenset({Quality.BAD_COMM_FAILURE}), ("link.down",)
    refused = frozenset({Quality.BAD_DEVICE_EXCEPTION})
    wrong = [
        Fault(name.replace("_", " "), "plc", _setter(faults, name, True),
              _setter(faults, name, False), ids, LINK)
        for name in ("short", "wrong_unit", "wrong_transaction", "wrong_function")
    ]  # fmt: skip
    return [
        *wrong,
        Fault("dead device", "plc", _setter(faults, "silent", True),
              _setter(faults, "silent", False), ids, LINK, down),
        Fault("illegal addresses", "plc", refuse(2), allow_and_reconnect, ids[1:2],
              frozenset({Quality.BAD_ILLEGAL_ADDRESS}), ("device.illegal_address",)),
        Fault("device failure", "plc", refuse(4), faults.exceptions.clear, ids[1:2], refused),
        Fault("busy", "plc", _setter(faults, "busy", 10**6), _setter(faults, "busy", 0), ids,
              refused),
        Fault("slow", "plc", _setter(faults, "delay_ms", 120.0), _setter(faults, "delay_ms", 0.0),
              (), comm, ("device.period",)),
        Fault("no frames", "plc", _setter(faults, "garbage", True),
              _setter(faults, "garbage", False), ids, LINK, down),
        Fault("cut link", "plc", server.stop, server.start, ids, LINK, down),
    ]  # fmt: skip


def _bus(plant: Plant) -> list[Fault]:
    """RTU behind a converter, three units."""
    line, proxy, ids = plant.bus.line, plant.bus_proxy, plant.ids["bus"]
    faults, unit = line.faults, line.units[2].faults
    down = ("link.down",)
    return [
        Fault("one dead unit", "bus", _setter(unit, "silent", True), _setter(unit, "silent", False),
              ids[2:4], frozenset({Quality.BAD_COMM_FAILURE}), down),
        Fault("wrong check sums", "bus", _setter(faults, "garble", 10**9),
              _setter(faults, "garble", 0), ids, LINK),
        Fault("answers of another unit", "bus", _setter(faults, "swap_unit", True),
              _setter(faults, "swap_unit", False), ids, LINK),
        Fault("converter gone", "bus", proxy.cut, proxy.join, ids, LINK, down),
        Fault("converter frozen", "bus", proxy.hang, proxy.join, ids, LINK, down),
    ]  # fmt: skip


def _states(plant: Plant) -> list[Fault]:
    """A gas detector that says of itself that its value is not for alarm."""
    holding = plant.detector.device.holding

    def say(register: int, value: int) -> Act:
        return lambda: holding.__setitem__(register, value)

    gas = plant.ids["detector"][:1]
    return [
        Fault(name, "detector", say(6, code), say(6, 1), gas, frozenset({quality}))
        for name, code, quality in (
            ("warm-up", 2, Quality.UNCERTAIN_WARM_UP),
            ("inhibited", 3, Quality.UNCERTAIN_INHIBITED),
            ("calibration", 12, Quality.UNCERTAIN_CALIBRATING),
        )
    ] + [
        Fault("unit of another catalogue", "detector", say(10, 4), say(10, 5), gas,
              frozenset({Quality.BAD_CONFIG_ERROR}), ("device.unit_mismatch",)),
    ]  # fmt: skip


def _serial(plant: Plant) -> list[Fault]:
    """Devices with their own frames."""
    gas, line, ids = plant.gas, plant.gas_line, plant.ids["gas"]
    return [
        Fault("silent detector", "gas", lambda: gas.silent.add("01"), gas.silent.clear, ids[:1],
              LINK),
        Fault("garbled frames", "gas", _setter(gas, "garble", 10**9), _setter(gas, "garble", 0),
              ids, LINK),
        Fault("port unplugged", "gas", line.unplug, line.plug, ids, LINK, ("link.down",)),
    ]  # fmt: skip


def _opcua(plant: Plant) -> list[Fault]:
    """A server in a process of its own."""
    ids, down = plant.ids["dcs"], ("link.down",)
    lost = LINK | {Quality.UNCERTAIN_STALE, Quality.BAD_WAITING}
    return [
        Fault("server killed and started", "dcs", plant.kill_opcua, plant.start_opcua, ids, lost,
              down),
        Fault("server frozen", "dcs", plant.freeze_opcua, plant.thaw_opcua, ids, lost, down),
        Fault("link to the server cut", "dcs", plant.dcs_proxy.cut, plant.dcs_proxy.join, ids, lost,
              down),
    ]  # fmt: skip


def _intakes(plant: Plant) -> list[Fault]:
    """Site systems."""
    mqtt, http, folder = plant.mqtt, plant.http, plant.folder
    broker, down = mqtt.broker, ("link.down",)
    stale, pushed = frozenset({Quality.UNCERTAIN_STALE}), [1, 2]
    return [
        Fault("broker gone", "mqtt", mqtt.lose, mqtt.restore, mqtt.ids, LINK, down),
        Fault("broker frozen", "mqtt", _setter(broker, "answers", False),
              _setter(broker, "answers", True), mqtt.ids, LINK, down),
        Fault("broker talks rubbish", "mqtt", lambda: broker.send_raw(b"\xf0\x02ab" * 10), _nothing,
              (), LINK, down, again=True),
        Fault("message is rubbish", "mqtt", lambda: broker.publish("site/values", b"\xff rubbish"),
              _nothing, (), LINK, ("intake.rejected",), again=True),
        Fault("sender silent", "http", _setter(http, "hushed", True),
              _setter(http, "hushed", False), pushed, stale),
        Fault("folder gone", "folder", folder.lose, folder.restore, folder.ids, LINK, down),
        Fault("file is rubbish", "folder", plant.put_rubbish, _nothing, (),
              LINK, ("intake.rejected",), again=True),
    ]  # fmt: skip
