"""Room `crypto`: key handles, composite signatures, key files and signed envelopes. It leans on `cryptography`.

It knows nothing of evidence: what is signed, and for which use, is said by the caller.
"""

from wardline.crypto.access import KEY_VARIABLE, PASSPHRASE_VARIABLE, open_signing_key, read_passphrase
from wardline.crypto.envelope import (
    MAX_PAYLOAD_BYTES,
    open_envelope,
    pre_authentication_encoding,
    seal,
    unsafe_read_payload,
)
from wardline.crypto.keyfiles import (
    MIN_PASSPHRASE_CHARACTERS,
    KdfCost,
    decrypt_private_key,
    encrypt_private_key,
    parse_private_key,
    parse_public_key,
    public_half,
    public_key_text,
    read_public_key,
    unsafe_private_key_text,
    write_private_key,
    write_public_key,
)
from wardline.crypto.keys import SigningKey, VerifyingKey, unsafe_export_private_bytes
from wardline.crypto.signatures import ALGORITHM
from wardline.crypto.strict import decode_base64, encode_base64, exact_object, parse_canonical

__all__ = [
    "ALGORITHM",
    "KEY_VARIABLE",
    "MAX_PAYLOAD_BYTES",
    "MIN_PASSPHRASE_CHARACTERS",
    "PASSPHRASE_VARIABLE",
    "KdfCost",
    "SigningKey",
    "VerifyingKey",
    "decode_base64",
    "decrypt_private_key",
    "encode_base64",
    "encrypt_private_key",
    "exact_object",
    "open_envelope",
    "open_signing_key",
    "parse_canonical",
    "parse_private_key",
    "parse_public_key",
    "pre_authentication_encoding",
    "public_half",
    "public_key_text",
    "read_passphrase",
    "read_public_key",
    "seal",
    "unsafe_export_private_bytes",
    "unsafe_private_key_text",
    "unsafe_read_payload",
    "write_private_key",
    "write_public_key",
]
