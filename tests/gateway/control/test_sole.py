"""A second gateway of one id on one machine is told, and only where both send to one receiver."""

from __future__ import annotations

import uuid
from pathlib import Path

from gateway.control.server import ControlServer
from gateway.control.sole import Sole


def test_the_second_is_told_until_the_first_has_ended() -> None:
    name = f"test-{uuid.uuid4()}"
    said: list[str] = []
    with Sole(name, ["10.0.0.1:50051", "10.0.0.2:50051"], said.append) as first:
        assert first.taken() == ""
        with Sole(name, ["10.0.0.2:50051"], said.append) as second:
            assert [second.taken()] == said
        assert name in said[0]
        assert "sends to 10.0.0.2:50051" in said[0]
        assert "请停止其中之一" in said[0]
        with Sole(name, ["10.0.0.3:50051"], said.append), Sole("x" + name, ["10.0.0.1:50051"]):
            assert len(said) == 1
        waiting = Sole(name, ["10.0.0.1:50051"], said.append)
        waiting.__enter__()
        assert len(said) == 2
    assert waiting.taken() == "", "the first has ended"
    waiting.__exit__()
    with Sole(name, ["10.0.0.1:50051", "10.0.0.2:50051"], said.append):
        assert len(said) == 2


async def test_a_control_server_holds_it_as_long_as_it_listens(tmp_path: Path) -> None:
    name = f"test-{uuid.uuid4()}"
    async with ControlServer(tmp_path, {}, Sole(name, ["r:1"])):
        assert Sole(name, ["r:1"]).taken()
    again = Sole(name, ["r:1"])
    assert not again.taken()
    again.__exit__()
