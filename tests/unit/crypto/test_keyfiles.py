"""Key files: written once, for the owner alone, and read strictly."""

from __future__ import annotations

import base64
import json
import stat
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from wardline.core import KeyAccessError, WorkspaceError
from wardline.crypto import (
    KdfCost,
    SigningKey,
    decrypt_private_key,
    encrypt_private_key,
    open_signing_key,
    parse_private_key,
    parse_public_key,
    public_half,
    public_key_text,
    read_public_key,
    unsafe_export_private_bytes,
    unsafe_private_key_text,
    write_private_key,
    write_public_key,
)

VECTORS = Path(__file__).parents[2] / "vectors"
CHEAP = KdfCost(memory_kib=19_456, iterations=1, lanes=1)
PASSPHRASE = "correct horse battery staple"
KEY = SigningKey.generate()


@pytest.mark.parametrize(
    "case", json.loads((VECTORS / "key-files.json").read_text())["cases"], ids=lambda case: case["name"]
)
def test_vectors(case):
    vector = json.loads((VECTORS / "key-files.json").read_text())
    if case["valid"]:
        key = decrypt_private_key(case["file"].encode(), passphrase=vector["passphrase"])
        assert key.id == vector["key_id"]
        assert unsafe_private_key_text(key) == vector["private_key"]
        assert public_key_text(key.verifying_key) == vector["public_key"]
        assert parse_private_key(vector["private_key"]).verifying_key == parse_public_key(vector["public_key"])
    else:
        with pytest.raises(KeyAccessError):
            decrypt_private_key(case["file"].encode(), passphrase=vector["passphrase"])


def test_pem_texts_are_those_of_the_draft():
    vector = json.loads((VECTORS / "composite-signature-draft.json").read_text())
    key = SigningKey.from_private_bytes(base64.b64decode(vector["sk"]))
    body = "".join(unsafe_private_key_text(key).splitlines()[1:-1])
    assert body == vector["sk_pkcs8"]
    spki = base64.b64decode("".join(public_key_text(key.verifying_key).splitlines()[1:-1]))
    assert spki in base64.b64decode(vector["x5c"])  # the certificate that goes with the vector


def test_files_are_private_whole_and_never_overwritten(tmp_path):
    secret, public = tmp_path / "new" / "signing.key", tmp_path / "new" / "signing.pub"
    write_private_key(secret, KEY, passphrase=PASSPHRASE, cost=CHEAP)
    write_public_key(public, KEY.verifying_key)
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    assert stat.S_IMODE(public.stat().st_mode) == 0o644
    assert sorted(one.name for one in secret.parent.iterdir()) == ["signing.key", "signing.pub"]
    assert open_signing_key(secret, prompt=lambda: PASSPHRASE, environment={}).id == KEY.id
    assert read_public_key(public) == KEY.verifying_key

    before = secret.read_bytes(), public.read_bytes()
    for write in (
        lambda: write_private_key(secret, SigningKey.generate(), passphrase=PASSPHRASE, cost=CHEAP),
        lambda: write_public_key(public, SigningKey.generate().verifying_key),
    ):
        with pytest.raises(KeyAccessError, match="never overwritten"):
            write()
    assert (secret.read_bytes(), public.read_bytes()) == before
    assert len(list(secret.parent.iterdir())) == 2


def test_not_even_a_dangling_link_is_written_through(tmp_path):
    link = tmp_path / "signing.key"
    link.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(KeyAccessError, match="never overwritten"):
        write_private_key(link, KEY, passphrase=PASSPHRASE, cost=CHEAP)
    assert not (tmp_path / "elsewhere").exists()


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(WorkspaceError, match="file"):
        write_public_key(tmp_path / "file" / "key.pub", KEY.verifying_key)


def test_the_default_cost_is_the_second_recommendation_of_rfc_9106():
    data = encrypt_private_key(KEY, passphrase=PASSPHRASE, cost=KdfCost())
    kdf = json.loads(data)["kdf"]
    assert (kdf["name"], kdf["iterations"], kdf["lanes"], kdf["memory_kib"]) == ("argon2id", 3, 4, 64 * 1024)
    assert decrypt_private_key(data, passphrase=PASSPHRASE).id == KEY.id


def test_an_encrypted_file_holds_neither_secret_nor_passphrase():
    data = encrypt_private_key(KEY, passphrase=PASSPHRASE, cost=CHEAP)
    secret = unsafe_export_private_bytes(KEY)
    decoded = b"".join(base64.b64decode(json.loads(data)[name]) for name in ("ciphertext", "nonce", "public_key"))
    for piece in (secret[:32], secret[32:], PASSPHRASE.encode()):
        assert piece not in data
        assert piece not in decoded
    again = encrypt_private_key(KEY, passphrase=PASSPHRASE, cost=CHEAP)
    assert json.loads(again)["nonce"] != json.loads(data)["nonce"]
    assert json.loads(again)["kdf"]["salt"] != json.loads(data)["kdf"]["salt"]


def test_a_short_passphrase_is_refused_when_writing():
    with pytest.raises(KeyAccessError, match="12 characters"):
        encrypt_private_key(KEY, passphrase="x" * 11, cost=CHEAP)


def test_a_passphrase_counts_by_its_characters_not_their_encoding():
    data = encrypt_private_key(KEY, passphrase="Schl\u00fcssel-Wort", cost=CHEAP)
    assert decrypt_private_key(data, passphrase="Schlu\u0308ssel-Wort").id == KEY.id
    with pytest.raises(KeyAccessError, match="passphrase is wrong"):
        decrypt_private_key(data, passphrase="Schlussel-Wort")


@pytest.mark.parametrize("field", ["ciphertext", "nonce", "public_key", "salt"])
def test_every_field_of_the_header_is_authenticated(field):
    data = encrypt_private_key(KEY, passphrase=PASSPHRASE, cost=CHEAP)
    value = json.loads(data)
    holder = value["kdf"] if field == "salt" else value
    raw = bytearray(base64.b64decode(holder[field]))
    raw[0] ^= 1
    holder[field] = base64.b64encode(raw).decode()
    changed = json.dumps(value, sort_keys=True, separators=(",", ":")).encode() + b"\n"
    assert decrypt_private_key(data, passphrase=PASSPHRASE).id == KEY.id
    with pytest.raises(KeyAccessError, match="wrong, or the key file was changed"):
        decrypt_private_key(changed, passphrase=PASSPHRASE)


@pytest.mark.parametrize(
    "cost", [{"memory_kib": 2**31}, {"memory_kib": 8}, {"iterations": 11}, {"iterations": 0}, {"lanes": 17}]
)
def test_costs_outside_their_bounds_are_refused(cost):
    with pytest.raises(ValueError, match="from"):
        KdfCost(**cost)


PUBLIC_TEXT = public_key_text(KEY.verifying_key)


@pytest.mark.parametrize(
    "text",
    [
        "",
        PUBLIC_TEXT + "\n",
        PUBLIC_TEXT[:-1],
        " " + PUBLIC_TEXT,
        PUBLIC_TEXT.replace("\n", "\r\n"),
        PUBLIC_TEXT + PUBLIC_TEXT,
        PUBLIC_TEXT.replace("\n", "", 2),
        PUBLIC_TEXT.replace("PUBLIC", "PRIVATE"),
        unsafe_private_key_text(KEY),
        PUBLIC_TEXT.replace("MIIH", "MIIG", 1),
        PUBLIC_TEXT.replace("-----BEGIN", "comment\n-----BEGIN"),
        PUBLIC_TEXT.replace("A", "\u0410", 1),
    ],
    ids=range(12),
)
def test_a_public_key_has_one_spelling(text):
    assert parse_public_key(PUBLIC_TEXT) == KEY.verifying_key
    with pytest.raises(KeyAccessError):
        parse_public_key(text)


def test_a_changed_letter_is_refused_or_makes_another_key():
    refused = other = 0
    for position, letter in enumerate(PUBLIC_TEXT):
        changed = PUBLIC_TEXT[:position] + chr(ord(letter) ^ 1) + PUBLIC_TEXT[position + 1 :]
        try:
            assert parse_public_key(changed).id != KEY.id
            other += 1
        except KeyAccessError:
            refused += 1
    assert refused > 50  # the frame, at least
    assert other > 2000  # most of the base64


def test_a_file_that_is_no_public_key_is_named(tmp_path):
    path = tmp_path / "key.pub"
    with pytest.raises(KeyAccessError, match="cannot read") as failure:
        read_public_key(path)
    assert failure.value.where == str(path)
    for content in (b"", b"\xff\xfe", b"x" * 100_000, PUBLIC_TEXT.encode() * 9):
        path.write_bytes(content)
        with pytest.raises(KeyAccessError, match="no public key") as failure:
            read_public_key(path)
        assert failure.value.where == str(path)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.one_of(st.binary(max_size=200), st.text(max_size=200).map(lambda text: text.encode("utf-8", "replace"))))
@example(b"[" * 10_000)
@example(b"{}\n")
@example(b'{"kdf":1}\n')
def test_any_bytes_are_a_key_file_or_refused(data):
    for read in (public_half, lambda data: decrypt_private_key(data, passphrase=PASSPHRASE)):
        with pytest.raises(KeyAccessError):
            read(data)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.text(max_size=300))
@example("-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----\n")
def test_any_text_is_a_key_or_refused(text):
    for parse in (parse_public_key, parse_private_key):
        with pytest.raises(KeyAccessError):
            parse(text)
