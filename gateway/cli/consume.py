"""`plantgate consume`: move a receiver's journal (NATS JetStream) into its store (PostgreSQL).

Exit 0 after a clean stop, 2 for a mistake in the options, the journal or the store.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from gateway.receiver.journal.consume import Consumer
    from gateway.receiver.journal.line import Line

EXAMPLE = """\b
Example:
  plantgate consume --journal "nats://n1:4222,n2:4222,n3:4222/PLANTGATE" \\
      --store "postgresql://plant@db1,db2,db3/plant?target_session_attrs=read-write"
"""


@click.command(
    "consume", epilog=EXAMPLE, context_settings={"auto_envvar_prefix": "PLANTGATE_CONSUME"}
)
@click.option("--journal", required=True, metavar="URL", help="nats://HOST:PORT,.../STREAM")
@click.option("--store", required=True, metavar="URL", help="postgresql://...")
@click.option("--json", "as_json", is_flag=True, help="Print the ready line as JSON.")
def command(journal: str, store: str, *, as_json: bool) -> None:
    """Move what receivers have put into the journal on into the store, each record once.

    Runs until SIGTERM or Ctrl-C; several may run at once. What is in the store leaves the journal.
    Prints one line when it is ready: consuming STREAM into STORE. Options may be given as
    environment variables instead: PLANTGATE_CONSUME_STORE.
    """
    from gateway.observe.log import configure
    from gateway.receiver.contract import StorePathError

    configure()
    try:
        with ExitStack() as stack:
            line, consumers = _open(journal, store, stack)
            _run(line, consumers, _Ready(line.address.stream, store, as_json=as_json))
    except StorePathError as error:
        print(f"plantgate consume: {error}", file=sys.stderr)
        sys.exit(2)


class _Ready:
    """The one line that says the consumer is ready."""

    def __init__(self, stream: str, store: str, *, as_json: bool) -> None:
        from gateway.receiver.stores import shown

        self._said = {"journal": stream, "store": shown(store)}
        self._as_json = as_json

    def say(self) -> None:
        """Print it."""
        if self._as_json:
            print(json.dumps(self._said), flush=True)
        else:
            print("consuming {journal} into {store}".format(**self._said), flush=True)


def _open(journal: str, store: str, stack: ExitStack) -> tuple[Line, list[Consumer]]:
    """Open everything; raises StorePathError."""
    from gateway.receiver.contract import StorePathError
    from gateway.receiver.journal.address import parse_journal
    from gateway.receiver.stores import is_postgres, without_nats

    if not is_postgres(store):
        raise StorePathError("a journal is moved into a store in PostgreSQL only")
    address = parse_journal(journal)
    try:
        from gateway.receiver.journal.consume import DURABLES, Consumer
        from gateway.receiver.journal.line import Line
        from gateway.receiver.postgres.store import PostgresStore
    except ImportError as error:
        raise without_nats(error) from None
    from gateway.runtime.clock import SystemClock

    line = stack.enter_context(closing(Line.open(address)))
    consumers = []
    for lane in DURABLES:
        opened = stack.enter_context(closing(PostgresStore.open(store)))
        consumers.append(Consumer(line, lane, opened, SystemClock()))
    return line, consumers


def _run(line: Line, consumers: list[Consumer], ready: _Ready) -> None:
    async def consume() -> None:
        loop = asyncio.get_running_loop()

        def stop() -> None:
            for one in consumers:
                line.soon(one.stop)

        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop)
        ready.say()
        async with asyncio.TaskGroup() as group:
            for one in consumers:
                group.create_task(_wait(line, one))

    asyncio.run(consume())


async def _wait(line: Line, consumer: Consumer) -> None:
    await asyncio.wrap_future(line.begin(consumer.run()))
