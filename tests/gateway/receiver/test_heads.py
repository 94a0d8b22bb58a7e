"""A signed head proves a log only with the key of the gateway's own certificate."""

from __future__ import annotations

import ssl
from pathlib import Path

from buffer.contract import Stream, head_message
from gateway.receiver.heads import forged
from gateway.runtime.signing import load_signer
from gateway.wire.v1 import uplink_pb2 as wire
from tests.fakes.certificates import Authority

LOG_ID = b"L" * 16


def test_only_a_signature_that_claims_this_key_and_does_not_fit_is_a_fault(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    own, other = authority.issue_gateway("SD-1"), authority.issue_gateway("SD-2")
    der = ssl.PEM_cert_to_DER_cert(own.certificate.read_text())
    signer = load_signer(own.key)
    digest = b"h" * 32
    signature = signer.sign(head_message(LOG_ID, Stream.ALARM, 7, digest))
    good = wire.StreamState(
        stream=wire.STREAM_ALARM,
        signed_sequence=7,
        signed_hash=digest,
        signed_key=signer.key_id,
        head_signature=signature,
    )

    def said(state: wire.StreamState, certificate: bytes | None = der) -> list[str]:
        hello = wire.Hello(log_id=LOG_ID, streams=[state])
        return [one.kind for faults in forged(hello, certificate).values() for one in faults]

    def changed(**fields: object) -> wire.StreamState:
        state = wire.StreamState()
        state.CopyFrom(good)
        for name, value in fields.items():
            setattr(state, name, value)
        return state

    assert said(good) == []
    assert said(changed(signed_sequence=8)) == ["bad_signature"]
    assert said(changed(signed_hash=b"x" * 32)) == ["bad_signature"]
    assert said(changed(signed_hash=b"short")) == ["bad_signature"]
    assert said(changed(signed_key=load_signer(other.key).key_id)) == [], "an older key of ours"
    assert said(good, None) == [], "no certificate to compare with"
    assert said(wire.StreamState(stream=wire.STREAM_ALARM)) == [], "nothing is signed yet"
