"""A short turn of `make cluster`: one nats-server, one PostgreSQL, each part killed once."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest

from tests.chaos.cluster import Campaign, jetstream_killed, postgres_killed, run
from tests.peers import jetstream, postgres

pytestmark = [pytest.mark.peer, pytest.mark.e2e]


@pytest.mark.timeout(600)
def test_every_acknowledged_record_is_stored_once_whatever_is_killed(tmp_path: Path) -> None:
    jetstream.require()
    postgres.require()
    with (
        contextlib.closing(jetstream.JetStream()) as jet,
        contextlib.closing(postgres.Postgres()) as server,
    ):
        jet.start()
        server.start()
        campaign = Campaign(tmp_path, jet.address, server.database(), away_s=0.5)
        engines = {"JetStream": jetstream_killed(jet), "PostgreSQL": postgres_killed(server)}
        result = run(campaign, (10, 20, 0), engines)
    assert result.acknowledged > 10
    assert len(result.kills) == 6
    assert (result.missing, result.doubled, result.forgotten, result.aside) == (0, 0, 0, 0)
