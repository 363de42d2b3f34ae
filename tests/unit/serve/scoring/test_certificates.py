"""Certificates for development, and the name in one."""

from __future__ import annotations

import datetime
import stat
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from wardline.core import DataError, KeyAccessError, UsageError
from wardline.serve.scoring.certificates import TlsFiles, make_development_certificates
from wardline.serve.scoring.identity import client_name
from wardline.serve.scoring.refusals import Reason, Refusal


def test_each_end_has_its_three_files(tmp_path: Path) -> None:
    written = make_development_certificates(tmp_path, clients=("alice",), server="scores.example")
    assert [path.name for path in written] == ["authority.pem", "server.pem", "alice.pem"]
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in tmp_path.glob("*.key"))
    authority = x509.load_pem_x509_certificate((tmp_path / "authority.pem").read_bytes())
    for name in ("server", "alice"):
        x509.load_pem_x509_certificate((tmp_path / f"{name}.pem").read_bytes()).verify_directly_issued_by(authority)
    more = make_development_certificates(tmp_path, clients=("bob",))
    assert [path.name for path in more] == ["bob.pem"]
    assert x509.load_pem_x509_certificate((tmp_path / "authority.pem").read_bytes()) == authority
    files = TlsFiles(authority=tmp_path / "authority.pem", certificate=tmp_path / "bob.pem", key=tmp_path / "bob.key")
    assert "PRIVATE" not in repr(files.read())
    (tmp_path / "bob.key").chmod(0o644)
    with pytest.raises(KeyAccessError, match="other users"):
        files.read()
    with pytest.raises(UsageError, match="there is a certificate"):
        make_development_certificates(tmp_path, clients=("alice",))
    for name in ("", "a/b", "server", "authority", "x" * 65):
        with pytest.raises(UsageError, match="name"):
            make_development_certificates(tmp_path, clients=(name,))
    (tmp_path / "bob.key").unlink()
    with pytest.raises(DataError):
        files.read()


def certificate(names: list[str], usage: list[x509.ObjectIdentifier] | None) -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name) for name in names])
    now = datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC)
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(subject).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(now).not_valid_after(now + datetime.timedelta(days=1))
    if usage is not None:
        builder = builder.add_extension(x509.ExtendedKeyUsage(usage), critical=False)
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def test_a_client_has_one_name() -> None:
    client = [ExtendedKeyUsageOID.CLIENT_AUTH]
    assert client_name({"x509_pem_cert": [certificate(["branch-7"], client)]}) == "branch-7"
    refused = [
        {},
        {"x509_pem_cert": []},
        {"x509_pem_cert": [certificate(["a"], client)] * 2},
        {"x509_pem_cert": [certificate(["a", "b"], client)]},
        {"x509_pem_cert": [certificate([], client)]},
        {"x509_pem_cert": [certificate(["a"], [ExtendedKeyUsageOID.SERVER_AUTH])]},
        {"x509_pem_cert": [certificate(["a"], None)]},
        {"x509_pem_cert": [certificate(['a"} 1\nforged'], client)]},
        {"x509_pem_cert": [b"no certificate"]},
    ]
    for context in refused:
        with pytest.raises(Refusal) as caught:
            client_name(context)
        assert caught.value.reason is Reason.IDENTITY
