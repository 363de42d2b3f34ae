"""Where a signing key may come from, and that no refusal tells a part of it."""

from __future__ import annotations

import os
import traceback

import pytest

from wardline.core import KeyAccessError
from wardline.crypto import (
    KEY_VARIABLE,
    PASSPHRASE_VARIABLE,
    KdfCost,
    SigningKey,
    open_signing_key,
    unsafe_export_private_bytes,
    unsafe_private_key_text,
    write_private_key,
)

PASSPHRASE = "correct horse battery staple"
WRONG = "a wrong passphrase"
KEY = SigningKey.generate()
TEXT = unsafe_private_key_text(KEY)


@pytest.fixture
def key_file(tmp_path):
    path = tmp_path / "signing.key"
    write_private_key(path, KEY, passphrase=PASSPHRASE, cost=KdfCost(memory_kib=19_456, iterations=1, lanes=1))
    return path


@pytest.fixture
def pipe():
    """Makes a descriptor from which some bytes can be read."""
    opened = []

    def make(data: bytes) -> int:
        source, sink = os.pipe()
        os.write(sink, data)
        os.close(sink)
        opened.append(source)
        return source

    yield make
    for descriptor in opened:
        os.close(descriptor)


def no_prompt() -> str:
    raise AssertionError("nobody should have been asked")


def test_a_file_with_a_passphrase_from_each_source(key_file, pipe):
    asked = []

    def prompt() -> str:
        asked.append(1)
        return PASSPHRASE

    assert open_signing_key(key_file, prompt=prompt, environment={}).id == KEY.id
    assert asked == [1]
    variables = {PASSPHRASE_VARIABLE: PASSPHRASE}
    assert open_signing_key(key_file, prompt=no_prompt, environment=variables).id == KEY.id
    for end in ("", "\n", "\r\n"):
        descriptor = pipe(f"{PASSPHRASE}{end}".encode())
        wrong = {PASSPHRASE_VARIABLE: "the descriptor counts more"}
        key = open_signing_key(key_file, passphrase_fd=descriptor, prompt=no_prompt, environment=wrong)
        assert key.id == KEY.id


def test_a_key_from_the_environment(monkeypatch):
    assert open_signing_key(environment={KEY_VARIABLE: TEXT}).id == KEY.id
    assert open_signing_key(environment={KEY_VARIABLE: TEXT.strip()}).id == KEY.id  # as `$(cat file)` gives it
    monkeypatch.setenv(KEY_VARIABLE, TEXT)
    assert open_signing_key().id == KEY.id


def test_a_key_from_a_descriptor(pipe):
    assert open_signing_key(private_key_fd=pipe(TEXT.encode()), environment={}).id == KEY.id


def test_what_is_said_expressly_counts_more_than_the_environment(key_file, pipe):
    other = unsafe_private_key_text(SigningKey.generate())
    variables = {KEY_VARIABLE: other, PASSPHRASE_VARIABLE: PASSPHRASE}
    assert open_signing_key(key_file, environment=variables).id == KEY.id
    assert open_signing_key(private_key_fd=pipe(TEXT.encode()), environment=variables).id == KEY.id
    with pytest.raises(KeyAccessError, match="two signing keys"):
        open_signing_key(key_file, private_key_fd=pipe(TEXT.encode()), environment={})


def test_no_key_at_all_has_a_remedy():
    for variables in ({}, {KEY_VARIABLE: ""}):
        with pytest.raises(KeyAccessError, match="no signing key was given") as failure:
            open_signing_key(prompt=no_prompt, environment=variables)
        assert "--key" in failure.value.hint


def test_no_passphrase_is_not_an_empty_one(key_file):
    with pytest.raises(KeyAccessError, match="a passphrase is needed"):
        open_signing_key(key_file, environment={})


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o602, 0o610])
def test_an_unencrypted_key_that_others_can_reach_is_refused(tmp_path, mode):
    path = tmp_path / "plain.key"
    path.write_text(TEXT)
    path.chmod(0o600)
    assert open_signing_key(path, environment={}).id == KEY.id  # the same file, closed to others, is fine
    path.chmod(mode)
    with pytest.raises(KeyAccessError, match="others on this machine"):
        open_signing_key(path, environment={})
    descriptor = os.open(path, os.O_RDONLY)
    try:
        with pytest.raises(KeyAccessError, match="others on this machine"):
            open_signing_key(private_key_fd=descriptor, environment={})
    finally:
        os.close(descriptor)


def test_a_passphrase_in_a_file_that_others_can_read_is_refused(tmp_path, key_file):
    path = tmp_path / "passphrase"
    path.write_text(PASSPHRASE + "\n")
    for mode, fine in ((0o644, False), (0o600, True)):
        path.chmod(mode)
        descriptor = os.open(path, os.O_RDONLY)
        try:
            if fine:
                assert open_signing_key(key_file, passphrase_fd=descriptor, environment={}).id == KEY.id
            else:
                with pytest.raises(KeyAccessError, match="others on this machine"):
                    open_signing_key(key_file, passphrase_fd=descriptor, environment={})
        finally:
            os.close(descriptor)


def test_an_encrypted_file_may_be_readable_and_reached_through_a_link(tmp_path, key_file):
    key_file.chmod(0o644)
    link = tmp_path / "link"
    link.symlink_to(key_file)
    assert open_signing_key(link, environment={PASSPHRASE_VARIABLE: PASSPHRASE}).id == KEY.id


def test_what_is_no_file_is_refused_without_waiting(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path):
        with pytest.raises(KeyAccessError, match="not a file"):
            open_signing_key(path, environment={})
    with pytest.raises(KeyAccessError, match="no such file"):
        open_signing_key(tmp_path / "absent", environment={})


def test_a_damaged_file_is_refused_before_anybody_is_asked(key_file):
    key_file.write_bytes(key_file.read_bytes()[:-30])
    with pytest.raises(KeyAccessError, match="damaged") as failure:
        open_signing_key(key_file, prompt=no_prompt, environment={})
    assert failure.value.where == str(key_file)


def test_endless_input_is_cut_off(tmp_path):
    path = tmp_path / "huge"
    with path.open("wb") as file:
        file.truncate(1 << 40)  # sparse
    path.chmod(0o600)
    with pytest.raises(KeyAccessError, match="more than 16384 bytes"):
        open_signing_key(path, environment={})


def broken(text: str) -> list[bytes]:
    data = text.encode()
    middle = len(data) // 2
    return [data[:-40], data[:middle] + b"\xff" + data[middle:], data[:middle] + b"!" + data[middle + 1 :], data * 2]


def test_no_refusal_tells_a_part_of_the_secret(tmp_path, key_file, pipe):
    secrets = [PASSPHRASE, WRONG, *TEXT.splitlines()[1:-1]]
    raw = unsafe_export_private_bytes(KEY)
    attempts = [lambda: open_signing_key(key_file, environment={PASSPHRASE_VARIABLE: WRONG})]
    for one in broken(TEXT):
        plain = tmp_path / f"{len(attempts)}.key"
        plain.write_bytes(one)
        plain.chmod(0o600)
        attempts += [
            lambda plain=plain: open_signing_key(plain, environment={}),
            lambda one=one: open_signing_key(private_key_fd=pipe(one), environment={}),
            lambda one=one: open_signing_key(environment={KEY_VARIABLE: one.decode("utf-8", "surrogateescape")}),
        ]
    wrong = WRONG.encode() + b"\xff\xfe"
    attempts.append(lambda: open_signing_key(key_file, passphrase_fd=pipe(wrong), environment={}))
    for attempt in attempts:
        with pytest.raises(KeyAccessError) as failure:
            attempt()
        told = [
            failure.value.message,
            failure.value.hint,
            failure.value.where,
            "".join(traceback.format_exception(failure.value)),
        ]
        chain: BaseException | None = failure.value
        while chain is not None:  # also what is only reachable, such as the text that a decoder's error holds
            told += [
                repr(chain),
                repr(vars(chain)),
                repr(getattr(chain, "object", "")),
                repr(getattr(chain, "doc", "")),
            ]
            chain = chain.__cause__ or chain.__context__
        for text in told:
            assert not any(secret in text for secret in secrets)
            assert raw[:8].hex() not in text
