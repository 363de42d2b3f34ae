"""Who calls: the name in the certificate that mutual TLS has checked."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Mapping

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from wardline.serve.scoring.refusals import Reason, Refusal

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
"""What a client may be called: it stands in logs, metrics and accounts."""


def client_name(auth_context: Mapping[str, Iterable[bytes]]) -> str:
    """The name of the client at the other end of a gRPC call.

    Args:
        auth_context: of the call.

    Raises:
        Refusal: if the call is not over mutual TLS, or the certificate is for servers, or does not name one client.

    Guarantee: as far as the authority that the server trusts gives a name to one client alone. A renewed certificate
    of the same name is the same client, with the same account.
    """
    pem = list(auth_context.get("x509_pem_cert") or ())
    if len(pem) != 1:
        raise Refusal(Reason.IDENTITY, "the call brings no client certificate")
    return _named(bytes(pem[0]))


@functools.lru_cache(maxsize=1024)
def _named(pem: bytes) -> str:
    # The bytes come from a certificate that TLS has verified already.
    try:
        certificate = x509.load_pem_x509_certificate(pem)
        names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except (ValueError, x509.ExtensionNotFound):
        raise Refusal(Reason.IDENTITY, "the client certificate does not say that it is one") from None
    if ExtendedKeyUsageOID.CLIENT_AUTH not in usage:
        raise Refusal(Reason.IDENTITY, "the certificate is for servers, not for clients")
    name = names[0].value if len(names) == 1 else ""
    if not isinstance(name, str) or NAME.fullmatch(name) is None:
        raise Refusal(Reason.IDENTITY, "the client certificate does not name one client by letters, digits and ._@-")
    return name
