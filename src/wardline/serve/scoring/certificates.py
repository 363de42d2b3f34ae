"""Certificates for mutual TLS: reading those that there are, and making some for development."""

from __future__ import annotations

import datetime
import ipaddress
import os
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from wardline.core import UsageError, make_folder
from wardline.core.errors import DataError, KeyAccessError
from wardline.crypto.keyfiles import write_new
from wardline.serve.scoring.identity import NAME

Issuer: TypeAlias = tuple[x509.Certificate, ec.EllipticCurvePrivateKey]

AUTHORITY = "authority"
_DAYS = 30
_MOST_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsFiles:
    """The three PEM files of one end of mutual TLS.

    Attributes:
        authority: certificates of whom this end trusts.
        certificate: its own, with any in between.
        key: its own private key, readable for its owner alone.
    """

    authority: Path
    certificate: Path
    key: Path

    def read(self) -> TlsBytes:
        """All three.

        Raises:
            DataError: if one cannot be read.
            KeyAccessError: if others may read the private key.
        """
        return TlsBytes(
            authority=_read(self.authority), certificate=_read(self.certificate), key=_read(self.key, private=True)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsBytes:
    """What stands in `TlsFiles`."""

    authority: bytes
    certificate: bytes
    key: bytes = field(repr=False)


def make_development_certificates(
    folder: Path, *, clients: tuple[str, ...], server: str = "localhost"
) -> tuple[Path, ...]:
    """An authority, a server and clients, for 30 days: for trying things out, not for production.

    The authority's key is written beside the others. Who has it can be any client. A folder with an authority gets
    more clients, and keeps what it has.

    Args:
        folder: where; keys are readable for their owner alone.
        clients: their names.
        server: host name of the server; certificates hold for the loopback address as well.

    Returns:
        The certificates that were written.

    Raises:
        UsageError: for a name that no client can have, or that stands there already.
        KeyAccessError, DataError: if the authority in the folder cannot be read.
        WorkspaceError: if nothing can be written.
    """
    for name in clients:
        if NAME.fullmatch(name) is None or name in (AUTHORITY, "server"):
            raise UsageError(f"{name!r} cannot be a client's name", hint="use letters, digits and ._@-")
        if (folder / f"{name}.pem").exists():
            raise UsageError(f"there is a certificate of {name}", where=str(folder), hint="choose another name")
    make_folder(folder)
    written: list[Path] = []
    if (folder / f"{AUTHORITY}.pem").exists():
        issuer = _authority(folder)
    else:
        issuer = _issue(None, "wardline development authority", purpose=None, hosts=())
        written.append(_store(folder, AUTHORITY, issuer))
        hosts = (server, "localhost", "127.0.0.1")
        pair = _issue(issuer, server, purpose=ExtendedKeyUsageOID.SERVER_AUTH, hosts=tuple(dict.fromkeys(hosts)))
        written.append(_store(folder, "server", pair))
    for name in clients:
        pair = _issue(issuer, name, purpose=ExtendedKeyUsageOID.CLIENT_AUTH, hosts=())
        written.append(_store(folder, name, pair))
    return tuple(written)


def _issue(
    issuer: Issuer | None, name: str, *, purpose: x509.ObjectIdentifier | None, hosts: tuple[str, ...]
) -> Issuer:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    signer = key if issuer is None else issuer[1]
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject if issuer is None else issuer[0].subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=5))
        .not_valid_after(now + datetime.timedelta(days=_DAYS))
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()),
            critical=False,
        )
    )
    if purpose is not None:
        builder = builder.add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
    if hosts:
        builder = builder.add_extension(x509.SubjectAlternativeName([_host(one) for one in hosts]), critical=False)
    return builder.sign(signer, hashes.SHA256()), key


def _host(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _store(folder: Path, name: str, pair: Issuer) -> Path:
    certificate, key = pair
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    write_new(folder / f"{name}.key", secret, mode=0o600)
    path = folder / f"{name}.pem"
    write_new(path, certificate.public_bytes(serialization.Encoding.PEM), mode=0o644)
    return path


def _authority(folder: Path) -> Issuer:
    certificate = x509.load_pem_x509_certificate(_read(folder / f"{AUTHORITY}.pem"))
    key = serialization.load_pem_private_key(_read(folder / f"{AUTHORITY}.key", private=True), password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise DataError("the authority was not made by this command", where=str(folder))
    return certificate, key


def _read(path: Path, *, private: bool = False) -> bytes:
    try:
        with path.open("rb") as file:
            if private and stat.S_IMODE(os.fstat(file.fileno()).st_mode) & 0o077:
                raise KeyAccessError(
                    "other users of this machine may read the private key", where=str(path), hint=f"chmod 600 {path}"
                )
            return file.read(_MOST_BYTES)
    except OSError as error:
        reason = (error.strerror or "unknown reason").lower()
        raise DataError(f"cannot read a file of mutual tls: {reason}", where=str(path)) from error
