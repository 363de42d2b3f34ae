"""Key files: the public key as text for everybody, the private key encrypted with a passphrase.

The formats are written down in ``docs/formats.md``.
"""

from __future__ import annotations

import os
import tempfile
import unicodedata
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from wardline.core import IntegrityError, KeyAccessError, SecureRandom, canonical_json, make_folder
from wardline.core.files import sync_folder, workspace_error
from wardline.crypto.keys import SigningKey, VerifyingKey, unsafe_export_private_bytes
from wardline.crypto.signatures import PRIVATE_BYTES, PUBLIC_BYTES
from wardline.crypto.strict import decode_base64, encode_base64, exact_object, parse_canonical

MAX_KEY_FILE_BYTES = 16_384
MIN_PASSPHRASE_CHARACTERS = 12

_FORMAT = "wardline private key/1"
_SALT_BYTES, _NONCE_BYTES, _TAG_BYTES = 16, 12, 16
_HEADER_KEYS = frozenset({"aead", "format", "kdf", "nonce", "public_key"})
_KDF_KEYS = frozenset({"iterations", "lanes", "memory_kib", "name", "salt"})

# DER around the raw keys: AlgorithmIdentifier 1.3.6.1.5.5.7.6.48 without parameters, all lengths fixed.
_SPKI_PREFIX = bytes.fromhex("308207d1300a06082b06010505070630038207c100")
_PKCS8_PREFIX = bytes.fromhex("3051020100300a06082b060105050706300440")
_PUBLIC_LABEL = "PUBLIC KEY"
_PRIVATE_LABEL = "PRIVATE KEY"
_PEM_LINE = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class KdfCost:
    """What one guess of a passphrase costs (Argon2id, RFC 9106; the default is its second recommendation).

    The upper limits hold when a file is read as well: a key file from a stranger must not be able to
    claim all memory, or a day of computing.

    Attributes:
        memory_kib: memory in KiB, 19,456 to 262,144.
        iterations: passes over it, 1 to 10.
        lanes: lanes, 1 to 16.
    """

    memory_kib: int = 65_536
    iterations: int = 3
    lanes: int = 4

    def __post_init__(self) -> None:
        for name, low, high in (("memory_kib", 19_456, 262_144), ("iterations", 1, 10), ("lanes", 1, 16)):
            value = getattr(self, name)
            if type(value) is not int or not low <= value <= high:
                raise ValueError(f"{name} must be a whole number from {low} to {high}")


def public_key_text(key: VerifyingKey) -> str:
    """A public key as PEM text (SubjectPublicKeyInfo), about 2.8 kB."""
    return _pem(_PUBLIC_LABEL, _SPKI_PREFIX + key.public_bytes)


def parse_public_key(text: str) -> VerifyingKey:
    """The public key in a text that `public_key_text` wrote.

    Raises:
        KeyAccessError: for any other text, down to the last newline.
    """
    return VerifyingKey(_from_pem(text, _PUBLIC_LABEL, _SPKI_PREFIX, PUBLIC_BYTES))


def unsafe_private_key_text(key: SigningKey) -> str:
    """A private key as *unencrypted* PEM text (PKCS #8): for a secret store, never for a file that others can read."""
    return _pem(_PRIVATE_LABEL, _PKCS8_PREFIX + unsafe_export_private_bytes(key))


def parse_private_key(text: str) -> SigningKey:
    """The private key in a text that `unsafe_private_key_text` wrote; blank space around it is allowed.

    Raises:
        KeyAccessError: for any other text. The message never contains a part of it.
    """
    private = _from_pem(text.strip() + "\n", _PRIVATE_LABEL, _PKCS8_PREFIX, PRIVATE_BYTES)
    return SigningKey.from_private_bytes(private)


def write_public_key(path: Path, key: VerifyingKey) -> None:
    """Write a public key file; a file that exists is never overwritten.

    Raises:
        KeyAccessError: if something stands there already.
        WorkspaceError: if it cannot be written.
    """
    write_new(path, public_key_text(key).encode("ascii"), mode=0o644)


def read_public_key(path: Path) -> VerifyingKey:
    """Read a public key file.

    Raises:
        KeyAccessError: if it cannot be read or is no public key of this kind.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_KEY_FILE_BYTES + 1)
    except OSError as error:
        raise KeyAccessError(
            f"cannot read the public key: {(error.strerror or 'unknown reason').lower()}", where=str(path)
        ) from error
    try:
        return parse_public_key(data.decode("ascii"))
    except (UnicodeDecodeError, KeyAccessError):
        raise KeyAccessError(
            "this is no public key of the composite kind that wardline uses",
            where=str(path),
            hint="ask the signer for the file anew",
        ) from None


def write_private_key(path: Path, key: SigningKey, *, passphrase: str, cost: KdfCost | None = None) -> None:
    """Write a private key, encrypted, readable for its owner alone; a file that exists is never overwritten.

    Args:
        path: where.
        key: the key.
        passphrase: at least 12 characters; longer and unguessable is better than odd.
        cost: what one guess costs.

    Raises:
        KeyAccessError: if the passphrase is too short, or something stands there already.
        WorkspaceError: if it cannot be written.

    Guarantee:
        Without the passphrase the file tells nothing but the public key: AES-256-GCM under a key from
        Argon2id with a fresh salt. Every byte of the header is authenticated with it.
    """
    write_new(path, encrypt_private_key(key, passphrase=passphrase, cost=cost or KdfCost()), mode=0o600)


def encrypt_private_key(key: SigningKey, *, passphrase: str, cost: KdfCost) -> bytes:
    """The content of a private key file; see `write_private_key`."""
    if len(passphrase) < MIN_PASSPHRASE_CHARACTERS:
        raise KeyAccessError(
            f"the passphrase has fewer than {MIN_PASSPHRASE_CHARACTERS} characters",
            hint="take several random words; whoever copies the file can try passphrases at leisure",
        )
    random = SecureRandom()
    salt, nonce = random.bytes(_SALT_BYTES), random.bytes(_NONCE_BYTES)
    header = {
        "aead": "AES-256-GCM",
        "format": _FORMAT,
        "kdf": {
            "iterations": cost.iterations,
            "lanes": cost.lanes,
            "memory_kib": cost.memory_kib,
            "name": "argon2id",
            "salt": encode_base64(salt),
        },
        "nonce": encode_base64(nonce),
        "public_key": encode_base64(key.verifying_key.public_bytes),
    }
    secret = unsafe_export_private_bytes(key)
    ciphertext = _cipher(passphrase, salt, cost).encrypt(nonce, secret, canonical_json(header))
    return canonical_json({**header, "ciphertext": encode_base64(ciphertext)}) + b"\n"


def decrypt_private_key(data: bytes, *, passphrase: str) -> SigningKey:
    """The key in the content of a private key file.

    Raises:
        KeyAccessError: if the passphrase is wrong, or the content is no such file or was changed. The two
            cannot be told apart where authenticated encryption does its work.
    """
    header, cost = _read_header(data)
    try:
        salt = _sized(header["kdf"]["salt"], _SALT_BYTES)
        nonce = _sized(header["nonce"], _NONCE_BYTES)
        public = _sized(header["public_key"], PUBLIC_BYTES)
        ciphertext = _sized(header.pop("ciphertext"), PRIVATE_BYTES + _TAG_BYTES)
    except IntegrityError:
        raise _damaged() from None
    try:
        secret = _cipher(passphrase, salt, cost).decrypt(nonce, ciphertext, canonical_json(header))
    except InvalidTag:
        raise KeyAccessError("the passphrase is wrong, or the key file was changed") from None
    key = SigningKey.from_private_bytes(secret)
    # AES-GCM does not commit to its key: a crafted file may open under several passphrases. This does.
    if key.verifying_key.public_bytes != public:
        raise _damaged()
    return key


def public_half(data: bytes) -> VerifyingKey:
    """The public key that stands in the content of a private key file.

    It is authenticated only once the file has been decrypted; good for showing which key a file claims to be.

    Raises:
        KeyAccessError: if the content is no such file.
    """
    header, _ = _read_header(data)
    try:
        return VerifyingKey(_sized(header["public_key"], PUBLIC_BYTES))
    except IntegrityError:
        raise _damaged() from None


def _read_header(data: bytes) -> tuple[dict[str, Any], KdfCost]:
    try:
        if not data.endswith(b"}\n"):
            raise _damaged()
        value = parse_canonical(data[:-1], what="the key file", max_bytes=MAX_KEY_FILE_BYTES, max_depth=2)
        value = exact_object(value, _HEADER_KEYS | {"ciphertext"}, what="the key file")
        kdf = exact_object(value["kdf"], _KDF_KEYS, what="kdf")
    except IntegrityError:
        # Without the cause: a parser's error carries the whole text that it was given.
        raise _damaged() from None
    if (value["format"], value["aead"], kdf["name"]) != (_FORMAT, "AES-256-GCM", "argon2id"):
        raise KeyAccessError("the key file is of a kind or version that this program does not know")
    try:
        return value, KdfCost(memory_kib=kdf["memory_kib"], iterations=kdf["iterations"], lanes=kdf["lanes"])
    except ValueError as error:
        raise KeyAccessError(f"the key file asks for too much or too little work: {error}") from None


def _damaged() -> KeyAccessError:
    return KeyAccessError(
        "this is no wardline private key file, or it was damaged",
        hint="take the copy that `wardline keys new` wrote, or make a new pair",
    )


def _sized(text: object, size: int) -> bytes:
    data = decode_base64(text, what="a field of the key file")
    if len(data) != size:
        raise IntegrityError("a field of the key file has the wrong length")
    return data


def _cipher(passphrase: str, salt: bytes, cost: KdfCost) -> AESGCM:
    # NFC: the same characters typed on another system give the same bytes (RFC 8265, OpaqueString).
    # Surrogates, which stand for bytes that are not UTF-8, pass: every text has one encoding, and no error
    # arises that would carry the passphrase.
    secret = unicodedata.normalize("NFC", passphrase).encode("utf-8", "surrogatepass")
    kdf = Argon2id(salt=salt, length=32, iterations=cost.iterations, lanes=cost.lanes, memory_cost=cost.memory_kib)
    try:
        return AESGCM(kdf.derive(secret))
    except MemoryError:
        raise KeyAccessError(f"opening this key takes {cost.memory_kib // 1024} MiB of memory") from None


def _pem(label: str, der: bytes) -> str:
    text = encode_base64(der)
    lines = [text[start : start + _PEM_LINE] for start in range(0, len(text), _PEM_LINE)]
    return "\n".join([f"-----BEGIN {label}-----", *lines, f"-----END {label}-----", ""])


def _from_pem(text: str, label: str, prefix: bytes, size: int) -> bytes:
    lines = text.split("\n")
    try:
        der = decode_base64("".join(lines[1:-2]), what="the key")
    except IntegrityError:
        der = b""
    # One spelling only: what comes out, written again, is what came in.
    if len(der) != len(prefix) + size or not der.startswith(prefix) or _pem(label, der) != text:
        raise KeyAccessError(f"this is no {label.lower()} of the composite kind that wardline uses")
    return der[len(prefix) :]


def write_new(path: Path, data: bytes, *, mode: int) -> None:
    """Write a whole file where nothing stands, or nothing at all."""
    make_folder(path.parent)
    try:
        descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with os.fdopen(descriptor, "wb") as file:
                os.fchmod(descriptor, mode)
                file.write(data)
                file.flush()
                os.fsync(descriptor)
            # A link, unlike a rename, fails if the name is taken, even if it was taken a moment ago.
            os.link(temporary, path)
        finally:
            Path(temporary).unlink()
        sync_folder(path.parent)
    except FileExistsError:
        raise KeyAccessError(
            "a file stands there already, and keys are never overwritten", where=str(path), hint="choose another name"
        ) from None
    except OSError as error:
        raise workspace_error(error, path) from error
