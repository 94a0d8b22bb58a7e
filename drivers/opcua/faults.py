"""Says OPC UA status codes as sentences for the person on site. Pure.

Guarantees: a code outside the table is still named, by its number and the name given in.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from drivers.contract import DeviceError

BAD_TIMEOUT = 0x800A_0000
BAD_TOO_MANY_PUBLISH_REQUESTS = 0x8078_0000
BAD_NODE_ID_UNKNOWN = 0x8034_0000
BAD_TOO_MANY_MONITORED_ITEMS = 0x80DB_0000
BAD_NO_MATCH = 0x806F_0000
BAD_SUBSCRIPTION_ID_INVALID = 0x8028_0000
BAD_TOO_MANY_SUBSCRIPTIONS = 0x8077_0000
FILTER_REFUSED = frozenset({0x8044_0000, 0x8043_0000, 0x808E_0000})
"""BadMonitoredItemFilterUnsupported, …FilterInvalid, BadDeadbandFilterInvalid."""

EVENT_FILTER_REFUSED = FILTER_REFUSED | {0x8047_0000}  # BadEventFilterInvalid

BUSY = frozenset(
    {0x8003_0000, 0x8004_0000, 0x800A_0000, 0x807D_0000, 0x8081_0000, 0x8085_0000, 0x80EE_0000}
)
"""BadOutOfMemory, BadResourceUnavailable, BadTimeout, BadTcpServerTooBusy,
BadTcpNotEnoughResources, BadRequestTimeout, BadServerTooBusy: the server may well do it later, and
still has our session."""

NODE_GONE = (0x8033, 0x8034)
"""Qualities BadNodeIdInvalid and BadNodeIdUnknown: what servers send for a deleted node."""

TOO_MUCH_AT_ONCE = frozenset({0x8010_0000, 0x80B8_0000, 0x80B9_0000, 0x8008_0000})
"""BadTooManyOperations, BadRequestTooLarge, BadResponseTooLarge, BadEncodingLimitsExceeded."""

_LOGIN = "the server refused user and password: check `user` and the password file"
_UNTRUSTED = (
    "the server does not trust our certificate yet: put {certificate} into its trusted folder"
    " (many servers keep refused ones in a folder named rejected, to be moved from there)"
)
_SENTENCES: Mapping[int, str] = {
    0x801F_0000: _LOGIN,  # BadUserAccessDenied
    0x8021_0000: _LOGIN,  # BadIdentityTokenRejected
    0x8020_0000: "the server accepts no login of this kind (BadIdentityTokenInvalid): check whether"
    " it wants user and password",
    0x801A_0000: _UNTRUSTED,  # BadCertificateUntrusted
    0x8013_0000: _UNTRUSTED,  # BadSecurityChecksFailed: what most servers say instead
    0x8012_0000: "the server finds our certificate invalid (BadCertificateInvalid): make a new one",
    0x8014_0000: "the server says that our certificate is out of its validity: renew it, or set the"
    " clocks right",
    0x8017_0000: "the application URI in our certificate is not the one we named"
    " (BadCertificateUriInvalid)",
    0x8015_0000: "the certificate of the authority that issued ours is out of its validity"
    " (BadCertificateIssuerTimeInvalid): have ours issued anew",
    0x8016_0000: "the host name in a certificate is not the one in `endpoint`"
    " (BadCertificateHostNameInvalid): name the host as the certificate does",
    0x8018_0000: "the server finds that our certificate is not made for this use"
    " (BadCertificateUseNotAllowed): make it with `plantgate cert opcua`",
    0x8019_0000: "the server finds that our authority's certificate is not made to issue others"
    " (BadCertificateIssuerUseNotAllowed): have ours issued by one that is",
    0x801B_0000: "the server cannot find out whether our certificate was revoked"
    " (BadCertificateRevocationUnknown): give it the revocation list of the authority",
    0x801C_0000: "the server cannot find out whether our authority's certificate was revoked"
    " (BadCertificateIssuerRevocationUnknown): give it the revocation list of the authority",
    0x801D_0000: "our certificate has been revoked (BadCertificateRevoked): have a new one issued",
    0x801E_0000: "our authority's certificate has been revoked (BadCertificateIssuerRevoked): have"
    " a new one issued",
    0x810D_0000: "the server lacks the authority that issued our certificate"
    " (BadCertificateChainIncomplete): put the authority's certificate into its issuers folder",
    0x8114_0000: "our certificate does not meet the server's policy"
    " (BadCertificatePolicyCheckFailed): key of 2048 bits or more and SHA-256 are usual",
    0x8054_0000: "the server rejected the security mode (BadSecurityModeRejected): check `mode`",
    0x8055_0000: "the server rejected the security policy (BadSecurityPolicyRejected): check"
    " `security`",
    0x8056_0000: "the server holds no more sessions (BadTooManySessions): close others, or raise"
    " its limit",
    0x8077_0000: "the server holds no more subscriptions (BadTooManySubscriptions): close others,"
    " or raise its limit",
    0x8028_0000: "the server has our subscription no more (BadSubscriptionIdInvalid)",
    0x8079_0000: "the server has our subscriptions no more (BadNoSubscription)",
    0x8025_0000: "the server has our session no more (BadSessionIdInvalid): was it restarted?",
    0x8026_0000: "the server has closed our session (BadSessionClosed)",
    0x800C_0000: "the server is shutting down (BadShutdown)",
    0x8083_0000: "the server does not know the path in `endpoint` (BadTcpEndpointUrlInvalid)",
    0x800D_0000: "the server is not ready for clients (BadServerNotConnected)",
    0x800E_0000: "the server has been halted (BadServerHalted)",
}


class StatusError(DeviceError):
    """The server answered a request with a bad StatusCode; `status` is all 32 bits."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class NoAnswerError(DeviceError):
    """The server did not answer one request in time. Whether it is lost, others tell."""


REFUSED_LOGIN = frozenset({0x801F_0000, 0x8020_0000, 0x8021_0000})
"""BadUserAccessDenied, BadIdentityTokenInvalid, BadIdentityTokenRejected."""


def status_sentence(status: int, name: str, doing: str, certificate: Path | None) -> str:
    """Say what a bad StatusCode means and what would help.

    certificate: ours; for a refused login the user's, or None for user and password.
    """
    if status in REFUSED_LOGIN and certificate is not None:
        return (
            f"the server refused the user's certificate ({name}): put {certificate} into its folder"
            " of trusted users, and give that user the right to read"
        )
    sentence = _SENTENCES.get(status & 0xFFFF_0000)
    if sentence is None:
        return f"the server answered {name} (0x{status:08X}) while {doing}"
    return sentence.format(certificate=certificate or "our certificate")


__all__ = ["NoAnswerError", "StatusError", "status_sentence"]
