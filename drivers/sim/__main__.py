"""`python -m drivers.sim`: the simulated plant as a process of its own, until SIGTERM or Ctrl-C.

    python -m drivers.sim --modbus-port 0 --opcua-port 0 --points 200 --seed 1 --tables points/

Once all servers listen it prints one line such as `ready modbus=40123 opcua=40124` and flushes it.
Port 0 takes any free port; a server whose port is not given is not started (and asyncua not
imported). Values change once a second. `--tables` writes modbus.csv and opcua.csv there first: the
point tables of what runs. Exit 0 after a signal, 2 for wrong arguments.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import signal
import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from drivers.sim.modbus_server import MOST_POINTS, ModbusSimulator
from drivers.sim.seconds import show_each_second
from drivers.sim.signals import Plant
from drivers.sim.tables import modbus_table, opcua_table


async def simulate(options: argparse.Namespace, stop: asyncio.Event) -> None:
    """Serve until `stop` is set. Raises OSError if a port is taken."""
    modbus = Plant(options.points, options.seed)
    opcua = Plant(options.opcua_points, options.seed + 1)
    if options.tables is not None:
        _write_tables(options.tables, modbus, opcua)
    async with contextlib.AsyncExitStack() as stack:
        ready = ["ready"]
        shows: list[Callable[[int], Awaitable[None]]] = []
        if options.modbus_port is not None:
            device = await stack.enter_async_context(ModbusSimulator(modbus, options.modbus_port))
            ready.append(f"modbus={device.port}")

            async def show_registers(second: int) -> None:
                device.show(modbus.values(second))

            shows.append(show_registers)
        if options.opcua_port is not None:
            from drivers.sim.opcua_server import OpcUaSimulator

            server = await stack.enter_async_context(OpcUaSimulator(opcua, options.opcua_port))
            ready.append(f"opcua={server.port}")

            async def show_variables(second: int) -> None:
                await server.show(opcua.values(second))

            shows.append(show_variables)
        sys.stdout.write(" ".join(ready) + "\n")
        sys.stdout.flush()

        async def show_all(second: int) -> None:
            for show in shows:
                await show(second)

        await show_each_second(show_all, stop)


def _write_tables(folder: Path, modbus: Plant, opcua: Plant) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "modbus.csv").write_text(modbus_table(modbus), encoding="utf-8")
    (folder / "opcua.csv").write_text(opcua_table(opcua), encoding="utf-8")


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m drivers.sim",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--modbus-port", type=int, help="port of the Modbus TCP device; 0: any")
    parser.add_argument("--opcua-port", type=int, help="port of the OPC UA server; 0: any")
    parser.add_argument("--points", type=int, default=200, help="points of the Modbus device")
    parser.add_argument("--opcua-points", type=int, help="of the OPC UA server; else as --points")
    parser.add_argument("--seed", type=int, default=1, help="equal seeds give equal signals")
    parser.add_argument("--tables", type=Path, help="folder to write the point tables to")
    options = parser.parse_args(arguments)
    if options.modbus_port is None and options.opcua_port is None:
        parser.error("give --modbus-port, --opcua-port or both")
    if options.opcua_points is None:
        options.opcua_points = options.points
    if not 0 <= options.points <= MOST_POINTS or options.opcua_points < 0 or options.seed < 0:
        parser.error(f"points are 0 to {MOST_POINTS}, a seed is 0 or more")
    return options


async def _until_signalled(options: argparse.Namespace) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await simulate(options, stop)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    options = _options(arguments)
    try:
        asyncio.run(_until_signalled(options))
    except OSError as error:
        sys.exit(f"the simulated plant cannot listen: {error}")


if __name__ == "__main__":
    main()
