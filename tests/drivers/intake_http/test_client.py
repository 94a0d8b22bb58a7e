"""The HTTP intake over real sockets: answers, limits, TLS, and durable before answered."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from drivers import registry
from drivers.contract import DeviceError, DriverPoint, Quality
from drivers.intake.settings import ExternalAddress
from drivers.intake_http.client import MAX_AT_ONCE, HttpIntake
from drivers.intake_http.config import HttpIntakeConfig, check
from gateway.runtime.clock import SystemClock
from tests.fakes.certificates import Authority
from tests.fakes.intake_store import IntakeStore
from tests.waiting import until

TOKEN = "0123456789abcdef"
POINTS = [
    DriverPoint(1, "ti", ExternalAddress(id="DCS.TI101"), 2),
    DriverPoint(2, "records", ExternalAddress(id="#records"), 3),
]
PERMIT = {"id": "t1", "time": "2026-05-01T08:00:00+08:00", "ticket_no": "DH-1",
          "work": "hot_work", "status": "approved"}  # fmt: skip
FOLDER = Path(__file__).parents[3] / "drivers" / "intake_http"
JPEG = b"\xff\xd8\xff\xe0" + b"p" * 100
CASES = json.loads((FOLDER / "cases" / "requests.json").read_text(encoding="utf-8"))


class Served:
    """A running intake and a client of it."""

    def __init__(self, driver: HttpIntake, store: IntakeStore, web: aiohttp.ClientSession) -> None:
        self.driver = driver
        self.store = store
        self.web = web
        self.scheme = "http"

    async def post(
        self, path: str, body: object = None, *, token: str = TOKEN, **more: Any
    ) -> tuple[int, dict[str, Any], Any]:
        """Status, answer and headers of a POST."""
        headers = {"Authorization": f"Bearer {token}", **more.pop("headers", {})}
        if "data" not in more:
            more["json"] = body
        url = f"{self.scheme}://127.0.0.1:{self.driver.port}{path}"
        async with self.web.post(url, headers=headers, **more) as reply:
            return reply.status, await reply.json(), reply.headers


def make(tmp_path: Path, **keys: Any) -> HttpIntake:
    tokens = tmp_path / "senders"
    tokens.write_text(f"tickets {TOKEN}\nboxes {TOKEN[::-1]}\n", encoding="utf-8")
    given = {"listen": "127.0.0.1:0", "tokens": str(tokens), **keys}
    config = HttpIntakeConfig.model_validate_json(json.dumps(given))
    return HttpIntake("tickets", config, POINTS, SystemClock())


@contextlib.asynccontextmanager
async def serving(
    driver: HttpIntake, store: IntakeStore | None = None, tls: ssl.SSLContext | None = None
) -> AsyncIterator[Served]:
    store = store or IntakeStore()
    connector = aiohttp.TCPConnector(ssl=tls) if tls else aiohttp.TCPConnector()
    async with asyncio.TaskGroup() as group, aiohttp.ClientSession(connector=connector) as web:
        running = group.create_task(driver.run(store.emit))
        await until(lambda: driver.port)
        served = Served(driver, store, web)
        served.scheme = "https" if tls else "http"
        try:
            yield served
        finally:
            store.release()
            running.cancel()


@pytest.mark.parametrize("case", CASES, ids=lambda case: str(case["name"]))
async def test_requests_get_their_answers(tmp_path: Path, case: dict[str, Any]) -> None:
    async with serving(make(tmp_path)) as served:
        more: dict[str, Any] = {}
        if "raw" in case:
            kind = case.get("type", "application/json")
            more = {"data": case["raw"].encode(), "headers": {"Content-Type": kind}}
        status, answer, _ = await served.post(case["path"], case.get("body"), **more)
        assert status == case["status"], answer
        assert {key: answer.get(key) for key in case["answer"]} == case["answer"]
        if "refused" in case:
            assert case["refused"] in next(r["msg"] for r in answer["data"] if not r["ok"])
        stored = [e for e in served.store.events() if e.kind.startswith("intake.")]
        assert len(stored) == case["stored"]


async def test_200_leaves_only_after_the_commit(tmp_path: Path) -> None:
    store = IntakeStore(held=True)
    async with serving(make(tmp_path), store) as served, asyncio.TaskGroup() as group:
        posting = group.create_task(served.post("/v1/permit", PERMIT))
        await until(lambda: store.events("intake.permit"))
        await asyncio.sleep(0.05)
        assert not posting.done()
        store.release()
        assert (await posting)[0] == 200


async def test_what_is_not_stored_gets_503_and_may_be_sent_again(tmp_path: Path) -> None:
    async with serving(make(tmp_path)) as served:
        served.store.fail_next = 1
        key = {"Idempotency-Key": "k1"}
        status, answer, headers = await served.post("/v1/permit", PERMIT, headers=key)
        assert (status, answer["success"]) == (503, False)
        assert int(headers["Retry-After"]) > 0
        status, _, _ = await served.post("/v1/permit", PERMIT, headers=key)
        assert status == 200
        assert len(served.store.durable_events("intake.permit")) == 1


async def test_a_disk_that_hangs_gets_503(tmp_path: Path) -> None:
    store = IntakeStore(held=True)
    async with serving(make(tmp_path, store_timeout_s=0.1), store) as served:
        assert (await served.post("/v1/permit", PERMIT))[0] == 503


async def test_a_re_send_stores_nothing_twice(tmp_path: Path) -> None:
    async with serving(make(tmp_path)) as served:
        key = {"Idempotency-Key": "k1"}
        first = await served.post("/v1/permit", PERMIT, headers=key)
        again = await served.post("/v1/permit", PERMIT, headers=key)
        without = await served.post("/v1/permit", [PERMIT])
        assert first[:2] == again[:2]
        assert without[0] == 200
        assert len(served.store.events("intake.permit")) == 1
        status, answer, _ = await served.post(
            "/v1/permit", {**PERMIT, "status": "closed"}, headers=key
        )
        assert status == 422
        assert "another body" in answer["msg"]
        changed = await served.post("/v1/permit", {**PERMIT, "status": "closed"})
        assert changed[0] == 200
        assert len(served.store.events("intake.permit")) == 2
        counted = served.driver.statistics()
        assert (counted["records"], counted["repeats"], counted["replays"]) == (2, 1, 1)


async def test_too_many_at_once_and_a_key_under_way_are_put_off(tmp_path: Path) -> None:
    store = IntakeStore(held=True)
    async with serving(make(tmp_path, burst=200), store) as served, asyncio.TaskGroup() as group:
        key = {"Idempotency-Key": "k"}
        posts = [group.create_task(served.post("/v1/permit", PERMIT, headers=key))]
        await until(lambda: store.events("intake.permit"))
        assert (await served.post("/v1/permit", PERMIT, headers=key))[0] == 409
        posts += [
            group.create_task(served.post("/v1/permit", {**PERMIT, "id": f"x{number}"}))
            for number in range(MAX_AT_ONCE - 1)
        ]
        await until(lambda: served.driver.statistics()["requests_under_way"] == MAX_AT_ONCE)
        status, answer, headers = await served.post("/v1/permit", PERMIT)
        assert (status, answer["msg"]) == (503, "too many requests at once")
        assert int(headers["Retry-After"]) > 0
        store.release()
        assert [(await post)[0] for post in posts] == [200] * MAX_AT_ONCE


async def test_a_large_document_is_stored_whole(tmp_path: Path) -> None:
    rows = [{**PERMIT, "id": f"t{number}"} for number in range(1200)]
    async with serving(make(tmp_path)) as served:
        status, answer, _ = await served.post("/v1/permit", rows)
        assert (status, answer["success"], len(answer["data"])) == (200, True, 1200)
        stored = [event.attributes["id"] for event in served.store.events("intake.permit")]
        assert stored == [row["id"] for row in rows]


RUBBISH = [
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"GET\r\n\r\n", b"\0" * 500,
    b"POST /v1/permit HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
    b"POST /v1/permit HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\nzz\r\n",
    b"POST /v1/permit HTTP/1.1\r\nA: " + b"x" * 20_000 + b"\r\n\r\n",
    b"POST /v1/../../etc HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}",
]  # fmt: skip


async def test_rubbish_on_the_wire_disturbs_nobody(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(make(tmp_path)) as served:
        for rubbish in RUBBISH:
            reader, writer = await asyncio.open_connection("127.0.0.1", served.driver.port)
            writer.write(rubbish)
            with contextlib.suppress(ConnectionError):
                await writer.drain()
                writer.write_eof()
                await reader.read()  # until it hangs up
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()
        assert (await served.post("/v1/permit", PERMIT))[0] == 200
        assert len(served.store.events("intake.permit")) == 1
        await served.post("/v1/permit", PERMIT, token="x" * 16)
        counted = served.driver.statistics()
        malformed = counted["malformed_requests"]
    assert counted["refused_by_status{status=401}"] == 1
    assert counted["store_ms"] > 0
    assert malformed >= 2
    lines = [record for record in caplog.records if record.name == "intake_http.tickets"]
    assert len(lines) == 1, [line.getMessage() for line in lines]
    assert lines[0].exc_info is None
    assert lines[0].getMessage().startswith("127.0.0.1 sent what is not HTTP and got 400: ")


async def test_senders_are_told_apart_and_strangers_refused(tmp_path: Path) -> None:
    async with serving(make(tmp_path, burst=5)) as served:
        assert (await served.post("/v1/permit", PERMIT, token=TOKEN[::-1]))[0] == 200
        assert served.store.events("intake.permit")[0].attributes["sender"] == "boxes"
        status, answer, headers = await served.post("/v1/permit", PERMIT, token="x" * 16)
        assert (status, headers["WWW-Authenticate"]) == (401, "Bearer")
        assert "x" * 16 not in json.dumps(answer)
        for _ in range(200):  # more than come back while they are asked for
            status, _, headers = await served.post("/v1/permit", PERMIT, token="x" * 16)
            if status == 429:
                break
        assert status == 429
        assert int(headers["Retry-After"]) >= 1
        assert (await served.post("/v1/permit", PERMIT))[0] == 200, "the others go on"


async def test_bodies_are_bounded(tmp_path: Path) -> None:
    async with serving(make(tmp_path, max_body_kb=4)) as served:
        status, _, _ = await served.post("/v1/permit", {**PERMIT, "content": "x" * 5000})
        assert status == 413

        async def endless() -> AsyncIterator[bytes]:
            for _ in range(100):
                yield b"[" * 1024

        json_type = {"Content-Type": "application/json"}
        with contextlib.suppress(aiohttp.ClientError):
            status, _, _ = await served.post("/v1/permit", data=endless(), headers=json_type)
            assert status == 413
        bomb = gzip.compress(b"[" * 10_000_000)
        packed = {**json_type, "Content-Encoding": "gzip"}
        status, _, _ = await served.post("/v1/permit", data=bomb, headers=packed)
        assert status == 413
        status, answer, _ = await served.post("/v1/permit", data=b"[" * 4000, headers=json_type)
        assert (status, "nested deeper" in answer["msg"]) == (400, True)
        assert not served.store.events("intake.permit")


def form(picture: bytes, **fields: str) -> aiohttp.FormData:
    data = aiohttp.FormData(default_to_multipart=True)
    for name, value in fields.items():
        data.add_field(name, value)
    if picture:
        data.add_field("picture", picture, filename="a.jpg", content_type="image/jpeg")
    return data


async def test_a_picture_becomes_evidence_of_its_event(tmp_path: Path) -> None:
    said = {"time": "2026-05-01T08:00:00+08:00", "alarm": "no_helmet", "camera": "cam-7"}
    async with serving(make(tmp_path, max_picture_kb=64)) as served:
        status, answer, _ = await served.post("/v1/pictures", data=form(JPEG, **said, box="b1"))
        assert (status, answer["success"]) == (200, True), answer
        (event,) = served.store.events("intake.picture")
        assert event.picture == JPEG
        assert event.attributes["camera"] == "cam-7"
        assert event.attributes["extra.box"] == "b1"
        assert event.attributes["picture_type"] == "image/jpeg"
        record = json.dumps({**said, "people": 3})
        await served.post("/v1/pictures", data=form(b"\x89PNG\r\n\x1a\n..", record=record))
        event = served.store.events("intake.picture")[1]
        assert (event.attributes["people"], event.attributes["picture_type"]) == (3, "image/png")
        for data, status, reason in (
            (form(b"GIF89a", **said), 415, "neither JPEG nor PNG"),
            (form(b"", **said), 400, "no part `picture`"),
            (form(JPEG, record="[1]"), 400, "one JSON object"),
            (form(JPEG + b"x" * 70_000, **said), 413, "larger than"),
        ):
            got, answer, _ = await served.post("/v1/pictures", data=data)
            assert (got, reason in answer["msg"]) == (status, True), answer
        status, answer, _ = await served.post("/v1/pictures", PERMIT)
        assert status == 415
        status, answer, _ = await served.post("/v1/pictures", data=form(JPEG, alarm="x"))
        assert "camera is missing" in answer["data"][0]["msg"]
        assert len(served.store.events("intake.picture")) == 2


async def test_samples_become_columns_with_quality(tmp_path: Path) -> None:
    rows = [{"id": "DCS.TI101", "time": "2026-05-01T00:00:00Z", "value": 1.5, "quality": 80}]
    async with serving(make(tmp_path)) as served:
        assert (await served.post("/v1/samples", rows))[0] == 200
        assert served.store.last_value(1) == (1.5, 0x4093)
        count = len(served.store.batches)
        assert (await served.post("/v1/samples", rows))[0] == 200
        assert [1 in b.points for b in served.store.batches[count:]] == [False]


async def test_healthz_needs_no_token(tmp_path: Path) -> None:
    async with serving(make(tmp_path)) as served:
        async with served.web.get(f"http://127.0.0.1:{served.driver.port}/healthz") as reply:
            assert await reply.json() == {"success": True}
        async with served.web.get(f"http://127.0.0.1:{served.driver.port}/v1/permit") as reply:
            assert reply.status == 405


async def test_mutual_tls_names_the_sender(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "ca")
    ours, theirs = authority.issue("intake"), authority.issue("positioning")
    keys = {"certificate": str(ours.certificate), "key": str(ours.key),
            "client_ca": str(authority.ca)}  # fmt: skip
    config = HttpIntakeConfig.model_validate_json(json.dumps({"listen": "127.0.0.1:0", **keys}))
    assert check(config, POINTS) == []
    driver = HttpIntake("tickets", config, POINTS, SystemClock())
    tls = ssl.create_default_context(cafile=str(authority.ca))
    tls.load_cert_chain(theirs.certificate, theirs.key)
    async with serving(driver, tls=tls) as served:
        assert (await served.post("/v1/permit", PERMIT))[0] == 200
        assert served.store.events("intake.permit")[0].attributes["sender"] == "positioning"
        stranger = ssl.create_default_context(cafile=str(authority.ca))
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=stranger)) as web:
            with pytest.raises(aiohttp.ClientError):
                await web.post(f"https://127.0.0.1:{driver.port}/v1/permit", json=PERMIT)


async def test_an_address_in_use_makes_every_point_bad_and_says_so(tmp_path: Path) -> None:
    async with serving(make(tmp_path)) as served:
        second = make(tmp_path, listen=f"127.0.0.1:{served.driver.port}")
        store = IntakeStore()
        for _ in range(2):
            with pytest.raises(DeviceError, match=r"cannot listen on 127\.0\.0\.1"):
                await second.run(store.emit)
        assert store.last_value(1)[1] == store.last_value(2)[1] == Quality.BAD_NOT_CONNECTED
        assert len(store.batches) == 1
        assert len(store.events("link.down")) == 1


async def test_it_serves_again_after_a_stop(tmp_path: Path) -> None:
    driver = make(tmp_path)
    for number in range(2):
        async with serving(driver) as served:
            status, _, _ = await served.post("/v1/permit", {**PERMIT, "id": f"t{number}"})
            assert status == 200


def test_check_reads_the_files(tmp_path: Path) -> None:
    (tmp_path / "m.toml").write_text('source = "s"\n[table.x]\nrecord = "permits"\n')
    keys = {"listen": "127.0.0.1:0", "tokens": str(tmp_path / "none"), "mapping":
            str(tmp_path / "m.toml"), "insecure": True}  # fmt: skip
    config = HttpIntakeConfig.model_validate_json(json.dumps(keys))
    twice = [*POINTS, DriverPoint(3, "again", ExternalAddress(id="DCS.TI101"), 4)]
    said = {problem.column: problem.message for problem in check(config, twice)}
    assert "did you mean permit?" in said["mapping"]
    assert "cannot be read" in said["tokens"]
    assert said["id"] == "again has the id of ti (row 2)"
    assert said["insecure"].startswith("warning: ")


def test_the_registry_finds_it_and_no_intake_shared() -> None:
    assert registry.find("intake_http").name == "intake_http"
    assert "intake" not in registry.names()
