"""Whether the signed heads in a Hello are signed by the key of the gateway's own certificate. Pure.

A head signed by another key (before a renewal, or the gateway's own key where it has no uplink
certificate) proves nothing here and is passed over; one that names this key and does not fit its
signature is a fault, and a Notice to the gateway.
"""

from __future__ import annotations

from cryptography import x509

from buffer.contract import Stream, head_message
from gateway.receiver.check import HASH_BYTES, Fault
from gateway.runtime.signing import PublicKey, is_signature, key_id
from gateway.wire.v1 import uplink_pb2 as wire


def forged(hello: wire.Hello, certificate: bytes | None) -> dict[Stream, list[Fault]]:
    """Faults by stream. certificate: DER of the connection's, None without TLS."""
    if certificate is None or not any(state.head_signature for state in hello.streams):
        return {}
    public = x509.load_der_x509_certificate(certificate).public_key()
    if not isinstance(public, PublicKey):
        return {}
    found: dict[Stream, list[Fault]] = {}
    for state in hello.streams:
        if not Stream.ALARM <= state.stream <= Stream.EVIDENCE or state.signed_key != key_id(
            public
        ):
            continue
        stream, sequence = Stream(state.stream), state.signed_sequence
        if sequence < 1 << 40 and len(state.signed_hash) == HASH_BYTES:
            message = head_message(hello.log_id, stream, sequence, state.signed_hash)
            if is_signature(public, message, state.head_signature):
                continue
        text = f"the signature of {stream.name.lower()} record {sequence} is not the certificate's"
        number = min(sequence, 1 << 40)
        found[stream] = [Fault(number, "bad_signature", state.signed_hash[:HASH_BYTES], text)]
    return found
