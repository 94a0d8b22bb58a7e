"""Sentences of config.py and trust.py, and what a right entry yields."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from cryptography import x509
from pydantic import ValidationError

from drivers.contract import DriverPoint, ValueKind
from drivers.opcua import DRIVER
from drivers.opcua.config import Node, OpcUaAddress, OpcUaConfig
from drivers.opcua.trust import (
    Presented,
    TrustError,
    check_server,
    load_certificate,
    load_identity,
    thumbprint,
)
from tests.fakes.opcua_certificates import make_application

NOW_NS = 1_790_000_000_000_000_000
LAB = {"endpoint": "opc.tcp://h:4840/UA", "security": "None", "insecure": True}


@pytest.mark.parametrize(
    ("text", "node"),
    [
        ("nsu=urn:plant:dcs;s=Tank1.Level", Node("urn:plant:dcs", "Tank1.Level")),
        ("nsu=http://x.example/UA;i=7", Node("http://x.example/UA", 7)),
        ("ns=2;s=a;b=c", Node(2, "a;b=c")),
        ("i=2258", Node(0, 2258)),
        (
            "ns=1;g=72962b91-fa75-4ae6-8d28-b404dc7daf63",
            Node(1, UUID("72962b91-fa75-4ae6-8d28-b404dc7daf63")),
        ),
        ("ns=1;b=AQI=", Node(1, b"\x01\x02")),
        ("  ns=3;s=液位  ", Node(3, "液位")),
    ],
)
def test_nodes(text: str, node: Node) -> None:
    assert OpcUaAddress.model_validate_strings({"node": text}).target() == node


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        ({"node": "Tank1.Level"}, "must be nsu=<namespace URI>"),
        ({"node": "ns=2;i=4294967296"}, "whole number up to 4294967295"),
        ({"node": "ns=99999;i=1"}, "at most 65535"),
        ({"node": "ns=1;g=xyz"}, "takes a GUID"),
        ({"node": "ns=1;b=*"}, "takes base64"),
        ({"node": "/Objects//Tank"}, "a name after every /"),
        ({"node": "/Objects/nsu=urn:x"}, "ends with ;"),
        ({"node": "i=1", "index": "3:4"}, "must be the place of one element"),
        ({"node": "i=1", "server_deadband": "120%"}, "at most 100 %"),
        ({"node": "i=1", "server_deadband": "wide"}, "a number (0.5) or percent"),
        ({"node": "i=1", "type": "double"}, "must be one of float, bool, int, uint, text"),
        ({"type": "int"}, "Field required"),
    ],
)
def test_wrong_addresses_are_one_sentence(row: dict[str, str], sentence: str) -> None:
    with pytest.raises(ValidationError) as caught:
        OpcUaAddress.model_validate_strings(row)
    (error,) = caught.value.errors()
    assert sentence in error["msg"]


@pytest.mark.parametrize(
    ("word", "kind"),
    [("", ValueKind.FLOAT), ("bool", ValueKind.FLOAT), ("INT", ValueKind.INT)],
)
def test_kinds(word: str, kind: ValueKind) -> None:
    address = OpcUaAddress.model_validate_strings({"node": "i=1", "type": word})
    assert DRIVER.kind(address) is kind


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"insecure": False}, "only allowed together with insecure = true"),
        ({"endpoint": "http://h"}, "endpoint must be opc.tcp://"),
        ({"endpoint": "opc.tcp://u:p@h:1"}, "must not hold user or password"),
        ({"user": "x"}, "user and password_file go together"),
        ({"user_certificate": "u"}, "user_certificate and user_key go together"),
        (
            {"user_certificate": "u", "user_key": "k", "user": "x", "password_file": "p"},
            "not by both",
        ),
        ({"user_certificate": "u", "user_key": "k"}, "needs a secured channel"),
        ({"security": "Basic256Sha256"}, "certificate and key"),
        (
            {"security": "Basic256Sha256", "certificate": "c", "key": "k"},
            "trust (a folder) or server_certificate",
        ),
        ({"password": "secret"}, "Extra inputs are not permitted"),
        ({"security": "Basic128Rsa15"}, "Input should be"),
    ],
)
def test_wrong_configurations_are_one_sentence(change: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValidationError) as caught:
        OpcUaConfig.model_validate(LAB | change)
    (error,) = caught.value.errors()
    assert sentence in error["msg"]


def test_queues_hold_two_publishing_intervals() -> None:
    for keys, queue in (({}, 2), ({"sampling_ms": 100}, 10), ({"sampling_ms": 0}, 100)):
        assert OpcUaConfig.model_validate(LAB | keys).item_queue_size == queue
    assert OpcUaConfig.model_validate(LAB | {"queue_size": 3}).item_queue_size == 3


def test_check_reads_the_files_that_are_named(tmp_path: Path) -> None:
    ours, other = make_application(tmp_path, "ours"), make_application(tmp_path, "other")
    config = OpcUaConfig.model_validate(
        {
            "endpoint": "opc.tcp://h:4840",
            "certificate": ours.certificate,
            "key": other.key,
            "trust": tmp_path / "nowhere",
            "user": "u",
            "password_file": tmp_path / "none",
        }
    )
    point = DriverPoint(1, "t", OpcUaAddress(node="i=1"), 2)
    problems = DRIVER.check(config, [point])
    assert [problem.column for problem in problems] == ["certificate", "password_file", "trust"]
    assert "does not belong to the certificate" in problems[0].message
    assert DRIVER.check(OpcUaConfig.model_validate(LAB), [point]) == []
    assert "no point" in DRIVER.check(OpcUaConfig.model_validate(LAB), [])[0].message


def test_a_server_is_trusted_by_its_very_certificate(tmp_path: Path) -> None:
    server = make_application(tmp_path / "a", "server")
    twin = make_application(tmp_path / "b", "server")
    folder = tmp_path / "trust"
    folder.mkdir()
    (folder / "stray.pem").write_text("nonsense", encoding="utf-8")
    presented = Presented(load_certificate(server.certificate))
    with pytest.raises(TrustError, match=f"SHA-256 {thumbprint(presented.certificate)}, subject C"):
        check_server(presented, pinned=twin.certificate, folder=folder, now_ns=NOW_NS)
    (folder / "right.der").write_bytes(server.certificate.read_bytes())
    check_server(presented, pinned=None, folder=folder, now_ns=NOW_NS)
    check_server(presented, pinned=server.certificate, folder=None, now_ns=NOW_NS)


def test_a_certificate_out_of_its_validity_is_refused(tmp_path: Path) -> None:
    until = datetime.datetime(2021, 1, 1, tzinfo=datetime.UTC)
    old = make_application(tmp_path, "old", until=until)
    with pytest.raises(TrustError, match="valid from 2020-01-01 to 2021-01-01"):
        check_server(
            Presented(load_certificate(old.certificate)),
            pinned=old.certificate,
            folder=None,
            now_ns=NOW_NS,
        )


def test_our_identity_must_be_whole(tmp_path: Path) -> None:
    ours = make_application(tmp_path, "ours")
    assert load_identity(ours.certificate, ours.key).application_uri == "urn:plantgate:test:ours"
    nameless = make_application(tmp_path, "nameless", uri="")
    with pytest.raises(TrustError, match="names no application URI"):
        load_identity(nameless.certificate, nameless.key)
    with pytest.raises(TrustError, match="cannot be read"):
        load_identity(tmp_path / "none.der", ours.key)
    with pytest.raises(TrustError, match="no unencrypted private key"):
        load_identity(ours.certificate, ours.certificate)
    assert isinstance(load_certificate(ours.certificate), x509.Certificate)
