"""A bundle in the hands of somebody who wants it to say something else."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA65PublicKey

from wardline.core import IntegrityError, canonical_json, digest_bytes
from wardline.crypto import (
    SigningKey,
    open_envelope,
    parse_public_key,
    pre_authentication_encoding,
    unsafe_export_private_bytes,
    unsafe_read_payload,
)
from wardline.crypto.signatures import message_representative
from wardline.evidence import verify_bundle, write_bundle
from wardline.evidence.consistency import check_consistency
from wardline.evidence.statement import CONTEXT, PAYLOAD_TYPE, decode_statement

VECTORS = Path(__file__).parents[1] / "vectors"
PREDICATE = json.loads((VECTORS / "evidence-predicate.json").read_text())
BUNDLES = json.loads((VECTORS / "bundles.json").read_text())
FILES = {"report.html": b"<!doctype html><title>Report</title>", "model.json": b'{"kind":"logistic"}'}
KEY = SigningKey.generate()
PUBLIC = KEY.verifying_key


@pytest.fixture
def folder(tmp_path):
    folder = write_bundle(tmp_path / "evidence", predicate=PREDICATE, files=FILES, key=KEY).parent
    assert verify_bundle(folder, PUBLIC).subjects_checked == ("model.json", "report.html")  # untouched, it verifies
    return folder


@pytest.mark.parametrize("name", ["bundle.json", *sorted(FILES)])
def test_every_changed_byte_is_found(folder, name):
    """Two bits of every byte; 0x20 is also the one that turns a letter into its capital."""
    original = (folder / name).read_bytes()
    accepted = []
    descriptor = os.open(folder / name, os.O_RDWR)
    try:
        for position, byte in enumerate(original):
            for mask in (0x01, 0x20):
                os.pwrite(descriptor, bytes([byte ^ mask]), position)
                try:
                    verify_bundle(folder, PUBLIC)
                    accepted.append((position, mask))
                except IntegrityError:
                    pass
            os.pwrite(descriptor, bytes([byte]), position)
    finally:
        os.close(descriptor)
    assert accepted == []
    assert verify_bundle(folder, PUBLIC).key_id == KEY.id  # restored, it verifies again


def test_every_byte_lost_or_gained_at_the_ends_is_found(folder):
    for name in ("bundle.json", *FILES):
        original = (folder / name).read_bytes()
        for changed in (original[:-1], original[1:], original + b"\n", original + b"\0", b" " + original, b""):
            (folder / name).write_bytes(changed)
            with pytest.raises(IntegrityError):
                verify_bundle(folder, PUBLIC)
        (folder / name).write_bytes(original)
    verify_bundle(folder, PUBLIC)


@pytest.mark.parametrize("case", BUNDLES["cases"], ids=lambda case: case["name"])
def test_vectors(case, tmp_path):
    """Each case is refused, and by the step that is there to refuse it."""
    key = parse_public_key(BUNDLES["public_key"])
    data = case["bundle"].encode()
    steps = {
        "envelope": lambda: unsafe_read_payload(data, payload_type=PAYLOAD_TYPE),
        "signature": lambda: open_envelope(data, payload_type=PAYLOAD_TYPE, key=key, context=CONTEXT),
        "statement": lambda: decode_statement(unsafe_read_payload(data, payload_type=PAYLOAD_TYPE)),
        "evidence": lambda: check_consistency(
            decode_statement(unsafe_read_payload(data, payload_type=PAYLOAD_TYPE)).predicate
        ),
    }
    refused_by = None
    for name, step in steps.items():
        try:
            step()
        except IntegrityError:
            refused_by = name
            break
    assert refused_by == case["refused_by"]

    (tmp_path / "bundle.json").write_bytes(data)
    for name, text in BUNDLES["files"].items():
        (tmp_path / name).write_text(text)
    for path in (tmp_path, tmp_path / "bundle.json"):
        if refused_by is None:
            assert verify_bundle(path, key).subjects_checked == ("report.html",)
        else:
            with pytest.raises(IntegrityError):
                verify_bundle(path, key)


def accepts_one_part(envelope: bytes, part: str) -> bool:
    """A naive verifier: it checks the part of the signature that it knows, wherever that ends."""
    value = json.loads(envelope)
    payload = base64.b64decode(value["payload"])
    signature = base64.b64decode(value["signatures"][0]["sig"])
    representative = message_representative(pre_authentication_encoding(PAYLOAD_TYPE, payload), CONTEXT)
    if part == "ed25519":
        Ed25519PublicKey.from_public_bytes(PUBLIC.public_bytes[1952:]).verify(signature[-64:], representative)
    else:
        label = b"COMPSIG-MLDSA65-Ed25519-SHA512"
        MLDSA65PublicKey.from_public_bytes(PUBLIC.public_bytes[:1952]).verify(signature[:3309], representative, label)
    return True


@pytest.mark.parametrize(
    ("part", "strip"),
    [
        ("ed25519", lambda signature: signature[3309:]),
        ("ed25519", lambda signature: bytes(3309) + signature[3309:]),
        ("mldsa", lambda signature: signature[:3309]),
        ("mldsa", lambda signature: signature[:3309] + bytes(64)),
    ],
    ids=["mldsa removed", "mldsa zeroed", "ed25519 removed", "ed25519 zeroed"],
)
def test_a_stripped_signature_fools_a_naive_verifier_and_not_this_one(folder, part, strip):
    path = folder / "bundle.json"
    value = json.loads(path.read_bytes())
    entry = value["signatures"][0]
    entry["sig"] = base64.b64encode(strip(base64.b64decode(entry["sig"]))).decode()
    path.write_bytes(canonical_json(value))
    assert accepts_one_part(path.read_bytes(), part)
    with pytest.raises(IntegrityError, match=r"does not match|has 3373 bytes"):
        verify_bundle(folder, PUBLIC)


def test_who_broke_ed25519_alone_cannot_change_the_evidence(folder):
    """The attacker holds the Ed25519 half of the key: a verifier of that half believes the forgery."""
    path = folder / "bundle.json"
    value = json.loads(path.read_bytes())
    statement = json.loads(base64.b64decode(value["payload"]))
    statement["predicate"]["measurements"][1]["value"] = 0.99
    payload = canonical_json(statement)
    representative = message_representative(pre_authentication_encoding(PAYLOAD_TYPE, payload), CONTEXT)
    stolen = Ed25519PrivateKey.from_private_bytes(unsafe_export_private_bytes(KEY)[32:])
    old = base64.b64decode(value["signatures"][0]["sig"])
    value["payload"] = base64.b64encode(payload).decode()
    value["signatures"][0]["sig"] = base64.b64encode(old[:3309] + stolen.sign(representative)).decode()
    path.write_bytes(canonical_json(value))
    assert accepts_one_part(path.read_bytes(), "ed25519")
    with pytest.raises(IntegrityError, match="does not match"):
        verify_bundle(folder, PUBLIC)


def test_another_signer_is_not_ours_even_under_our_name(folder, tmp_path):
    other = SigningKey.generate()
    forged = write_bundle(tmp_path / "forged", predicate=PREDICATE, files=FILES, key=other).parent
    verify_bundle(forged, other.verifying_key)
    with pytest.raises(IntegrityError, match="another key"):
        verify_bundle(forged, PUBLIC)
    value = json.loads((forged / "bundle.json").read_bytes())
    value["signatures"][0]["keyid"] = KEY.id
    (forged / "bundle.json").write_bytes(canonical_json(value))
    with pytest.raises(IntegrityError, match="does not match"):
        verify_bundle(forged, PUBLIC)


def test_files_are_not_swapped_added_removed_or_linked(folder, tmp_path):
    report, model = folder / "report.html", folder / "model.json"
    elsewhere = tmp_path / "same-bytes"
    elsewhere.write_bytes(FILES["report.html"])

    report.unlink()
    with pytest.raises(IntegrityError, match="missing from the bundle"):
        verify_bundle(folder, PUBLIC)
    report.symlink_to(elsewhere)  # the bytes would be right, now
    assert digest_bytes(report.read_bytes()) == digest_bytes(FILES["report.html"])
    for path in (folder, folder / "bundle.json"):
        with pytest.raises(IntegrityError, match="cannot read what should be verified"):
            verify_bundle(path, PUBLIC)
    report.unlink()
    for make in (report.mkdir, lambda: os.mkfifo(report)):
        make()
        with pytest.raises(IntegrityError, match="not a plain file"):
            verify_bundle(folder, PUBLIC)
        report.rmdir() if report.is_dir() else report.unlink()

    report.write_bytes(FILES["model.json"])
    model.write_bytes(FILES["report.html"])
    with pytest.raises(IntegrityError, match="not the one that was signed"):
        verify_bundle(folder, PUBLIC)
    report.write_bytes(FILES["report.html"])
    model.write_bytes(FILES["model.json"])
    verify_bundle(folder, PUBLIC)

    for name in ("model.safetensors", ".hidden", "\x1b[2Kreport.html", "unsigned-statement.json"):
        (folder / name).write_bytes(b"")
        with pytest.raises(IntegrityError, match="never signed") as failure:
            verify_bundle(folder, PUBLIC)
        assert "\x1b" not in str(failure.value)
        (folder / name).unlink()
    for index in range(9):
        (folder / f"extra{index}").mkdir()
    with pytest.raises(IntegrityError, match="'extra4' and 4 more"):
        verify_bundle(folder, PUBLIC)


def test_the_envelope_itself_is_no_link_in_a_folder(folder, tmp_path):
    moved = tmp_path / "moved.json"
    (folder / "bundle.json").rename(moved)
    (folder / "bundle.json").symlink_to(moved)
    with pytest.raises(IntegrityError, match="cannot read what should be verified"):
        verify_bundle(folder, PUBLIC)
    (folder / "bundle.json").unlink()
    with pytest.raises(IntegrityError, match="no signed bundle here"):
        verify_bundle(folder, PUBLIC)
    with pytest.raises(IntegrityError, match="no signed bundle here"):
        verify_bundle(folder / "absent" / "bundle.json", PUBLIC)


def test_endless_input_is_cut_off(folder):
    with (folder / "bundle.json").open("r+b") as file:
        file.truncate(1 << 40)  # sparse
    with pytest.raises(IntegrityError, match="the envelope has more than"):
        verify_bundle(folder, PUBLIC)


@pytest.mark.parametrize(
    "data",
    [b"[" * 1_000_000, b'{"payload":' * 500_000, b'"' + b"\\" * 1_000_000, b"9" * 1_000_000, b"[" + b"[]," * 300_000],
    ids=["arrays", "objects", "backslashes", "digits", "many"],
)
def test_what_exhausts_a_parser_is_refused(folder, data):
    (folder / "bundle.json").write_bytes(data)
    with pytest.raises(IntegrityError):
        verify_bundle(folder, PUBLIC)
