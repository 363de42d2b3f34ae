"""The two sources of randomness: one repeats to the bit, the other never does, and neither becomes the other."""

from __future__ import annotations

import copy
import functools
import os
import pickle
import threading
from collections.abc import Callable

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from wardline.core import SecureRandom, Seeds

# Seeds


def test_streams_are_the_same_today_and_in_ten_years() -> None:
    """Vectors: whoever changes these changes every published figure that names a seed."""
    assert Seeds(0).integer("a") == 524923692083543448
    assert Seeds(0).child("a").root == 6998647160613750382
    assert Seeds(0).child("a").integer("a") == 3368552720181781568
    assert Seeds(7).integer("train") == 2348869262780816455
    assert Seeds(0).numpy("a").integers(0, 2**63, 2).tolist() == [9147052227173159898, 6461441963679527609]


def test_a_stream_depends_on_its_name_its_root_and_its_parent_alone() -> None:
    names = ["a", "b", "a/b", "", "a\0b", "child", "é"]
    made = [seeds.integer(name) for seeds in (Seeds(0), Seeds(1), Seeds(0).child("a")) for name in names]
    made += [Seeds(0).child(name).root for name in names]
    assert len(set(made)) == len(made)
    assert all(0 <= one < 2**63 for one in made)
    seeds = Seeds(3)
    before = seeds.numpy("a").random(5).tolist()
    seeds.numpy("b").random(100)
    assert seeds.numpy("a").random(5).tolist() == before, "a stream begins at its start, whatever else was drawn"


def test_seeds_are_whole_numbers() -> None:
    assert Seeds(np.int64(7)).integer("x") == Seeds(7).integer("x")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="seed"):
        Seeds(-1)
    for root in (1.5, "1", None):
        with pytest.raises(TypeError):
            Seeds(root)  # type: ignore[arg-type]


def test_the_two_do_not_convert() -> None:
    with pytest.raises(TypeError):
        SecureRandom(0)  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        Seeds(SecureRandom())  # type: ignore[arg-type]
    secure = {name for name in dir(SecureRandom) if not name.startswith("_")}
    seeded = {name for name in dir(Seeds) if not name.startswith("_")}
    assert secure & seeded == set(), "code that draws from one cannot be handed the other"
    assert not {"seed", "state", "getstate", "setstate", "spawn"} & secure


# SecureRandom


@pytest.mark.parametrize(
    "again",
    [copy.copy, copy.deepcopy, *(functools.partial(pickle.dumps, protocol=number) for number in range(6))],
    ids=["copy", "deepcopy", *(f"pickle-{number}" for number in range(6))],
)
def test_it_cannot_be_copied_or_pickled(again: Callable[[SecureRandom], object]) -> None:
    with pytest.raises(TypeError, match="cannot be pickled or copied"):
        again(SecureRandom())


def test_nothing_of_it_is_shown() -> None:
    random = SecureRandom()
    assert repr(random) == str(random) == "SecureRandom()"
    assert not hasattr(random, "__dict__")


def _drawn_in_child(draw: Callable[[], bytes]) -> bytes:
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(writer, draw())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        drawn = pipe.read()
    os.waitpid(child, 0)
    return drawn


def test_a_fork_begins_a_stream_of_its_own() -> None:
    random = SecureRandom()
    random.bytes(100)
    streams = [_drawn_in_child(lambda: random.bytes(64)) for _ in range(3)]
    streams.append(_drawn_in_child(lambda: _drawn_in_child(lambda: random.bytes(64))))
    streams.append(random.bytes(64))
    assert all(len(one) == 64 for one in streams)
    assert len(set(streams)) == 5

    # The unprotected twin, a bare keystream, gives both sides the same bytes.
    bare = Cipher(algorithms.AES256(os.urandom(32)), modes.CTR(os.urandom(16))).encryptor()
    assert _drawn_in_child(lambda: bare.update(bytes(64))) == bare.update(bytes(64))


def test_a_process_that_was_given_an_old_number_begins_a_stream_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Process ids are given out again; a grandchild may get that of the process that made the state."""
    random = SecureRandom()
    random.bytes(1)
    monkeypatch.setattr(os, "getpid", lambda: 1)
    assert _drawn_in_child(lambda: random.bytes(64)) != random.bytes(64)


def test_a_new_key_is_drawn_after_64_mebibytes() -> None:
    random = SecureRandom()
    first = random._encryptor
    assert len(random.bytes((1 << 26) - 1)) == (1 << 26) - 1
    assert random._encryptor is first
    assert len(random.bytes(3)) == 3
    assert random._encryptor is not first
    second = random._encryptor
    data = random.bytes((1 << 26) + 5)
    assert len(data) == (1 << 26) + 5
    assert random._encryptor is not second, "across two keys in one call"


def test_two_threads_get_whole_and_different_bytes_or_an_error() -> None:
    random = SecureRandom()
    drawn: list[bytes] = []
    strange: list[Exception] = []

    def work(size: int) -> None:
        for _ in range(50):
            try:
                drawn.append(random.bytes(size))
            except RuntimeError:
                continue
            except Exception as error:  # noqa: BLE001 (told below, in the main thread)
                strange.append(error)

    threads = [threading.Thread(target=work, args=(size,)) for size in (100_000, 200_000, 300_000)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert strange == []
    assert drawn
    assert {len(one) for one in drawn} <= {100_000, 200_000, 300_000}
    assert len({one[:32] for one in drawn}) == len(drawn)


@pytest.mark.parametrize("count", [0, 1, 2, 7])
def test_as_many_as_were_asked_for(count: int) -> None:
    random = SecureRandom()
    assert len(random.bytes(count)) == count
    for draw in (random.uint64, random.uniform, random.gaussian):
        assert draw(count).shape == (count,)
    for prob in (0.0, 0.5, 1.0):
        assert random.bernoulli(count, prob).shape == (count,)
    assert random.gaussian(count).dtype == random.uniform(count).dtype == np.float64
    assert random.bernoulli(count, 0.5).dtype == np.bool_


@pytest.mark.parametrize("prob", [-0.1, 1.1, float("nan")])
def test_what_is_no_probability_or_count_is_refused(prob: float) -> None:
    with pytest.raises(ValueError, match="prob"):
        SecureRandom().bernoulli(3, prob)
    for draw in (SecureRandom().bytes, SecureRandom().uniform, SecureRandom().gaussian):
        with pytest.raises(ValueError):
            draw(-2)


EDGES = np.array([0, 1, 2**11, 2**12, 2**63 - 1, 2**63, 2**64 - 2**12, 2**64 - 2, 2**64 - 1], dtype=np.uint64)


@pytest.fixture
def at_the_edges(monkeypatch: pytest.MonkeyPatch) -> SecureRandom:
    """A source whose 64-bit draws are the extreme ones, which nobody lives to see by chance."""
    monkeypatch.setattr(SecureRandom, "uint64", lambda self, count: np.resize(EDGES, count))
    return SecureRandom()


def test_uniform_is_never_0_and_never_1(at_the_edges: SecureRandom) -> None:
    drawn = at_the_edges.uniform(len(EDGES))
    assert drawn.min() == 2.0**-53
    assert drawn.max() == 1 - 2.0**-53
    # The twin with one bit more, which looks as good, does reach 1.
    assert (((EDGES >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53).max() == 1.0


def test_gaussian_is_finite_at_the_edges(at_the_edges: SecureRandom) -> None:
    assert np.isfinite(at_the_edges.gaussian(200)).all()


@pytest.mark.parametrize(
    ("prob", "threshold"),
    [(0.5, 2**63), (2.0**-64, 1), (2.0**-65, 0), (1 - 2.0**-53, 2**64 - 2**11), (0.0, 0), (0.3, int(0.3 * 2.0**64))],
)
def test_coins_are_exact_to_two_to_the_minus_64(
    at_the_edges: SecureRandom, monkeypatch: pytest.MonkeyPatch, prob: float, threshold: int
) -> None:
    near = [value for value in range(threshold - 3, threshold + 3) if 0 <= value < 2**64]
    monkeypatch.setattr(SecureRandom, "uint64", lambda self, count: np.array(near, dtype=np.uint64))
    assert at_the_edges.bernoulli(len(near), prob).tolist() == [value < threshold for value in near]
    assert at_the_edges.bernoulli(5, 1.0).all()
