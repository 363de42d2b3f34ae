"""The two sources of randomness: one repeats to the bit, the other never does, and neither becomes the other."""

from __future__ import annotations

import copy
import functools
import math
import os
import pickle
import threading
import types
from collections.abc import Callable

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from wardline.core import SecureRandom, Seeds, _normal

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


@pytest.mark.parametrize("byte", [0x00, 0xFF, 0x80, 0x7F, 0x01, 0xFE])
def test_gaussian_is_finite_whatever_the_bits(monkeypatch: pytest.MonkeyPatch, byte: int) -> None:
    """All words alike: layers 0 and 1023, places at both ends, and the farthest ends of the tail."""

    def fill(self: SecureRandom, words: np.ndarray) -> None:
        words.view(np.uint8)[:] = byte
        words[:1000] = np.resize(EDGES, 1000).view(np.int64)

    tails = iter([bytes([byte]) * 16, bytes(16), b"\xff" * 16])
    monkeypatch.setattr(SecureRandom, "fill", fill)
    monkeypatch.setattr(_normal, "_open_uniform", lambda random: _uniform_of(next(tails, b"\x40" * 16)))
    drawn = SecureRandom().gaussian(2000)
    assert np.isfinite(drawn).all()
    assert np.abs(drawn).max() < 27


def _uniform_of(drawn: bytes) -> float:
    number: float = _open_uniform(types.SimpleNamespace(bytes=lambda count: drawn))
    return number


_open_uniform = _normal._open_uniform


def test_the_ends_of_the_tail() -> None:
    assert _uniform_of(bytes(16)) == 2.0**-129
    assert _uniform_of(b"\xff" * 16) == 1.0, "rounded: its logarithm is 0, which is no harm"


def test_gaussian_numbers_are_given_out_once() -> None:
    """In portions of all sizes, within a block and across its end."""
    random = SecureRandom()
    portions = [random.gaussian(size) for size in (1, 7, 65_000, 300, 0, 70_000, 3, 131_072)]
    together = np.concatenate(portions)
    assert len(np.unique(together)) == len(together)
    portions[0][:] = 0
    assert random.gaussian(5).all(), "what was given out is not the stock's any more"


def test_a_fork_drops_the_stock_of_gaussian_numbers() -> None:
    random = SecureRandom()
    random.gaussian(3)
    rows = [_drawn_in_child(lambda: random.gaussian(8).tobytes()) for _ in range(3)]
    rows.append(_drawn_in_child(lambda: _drawn_in_child(lambda: random.gaussian(8).tobytes())))
    rows.append(random.gaussian(8).tobytes())
    assert all(len(row) == 64 for row in rows)
    assert len(set(rows)) == 5

    # The unprotected twin hands the parent's stock to every child.
    stock = random.gaussian(8)
    assert _drawn_in_child(lambda: stock.tobytes()) == stock.tobytes()


def test_two_threads_get_different_gaussian_numbers_or_an_error() -> None:
    random = SecureRandom()
    drawn: list[np.ndarray] = []
    refused: list[RuntimeError] = []
    strange: list[Exception] = []

    def work() -> None:
        for size in range(1, 400, 3):
            try:
                drawn.append(random.gaussian(size))
            except RuntimeError as error:
                refused.append(error)
            except Exception as error:  # noqa: BLE001 (told below, in the main thread)
                strange.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert strange == []
    together = np.concatenate(drawn)
    assert len(np.unique(together)) == len(together)
    assert len(drawn) + len(refused) == 4 * 133


def test_a_second_thread_is_refused_while_the_first_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    random = SecureRandom()
    refused: list[str] = []
    sound = SecureRandom.fill

    def meanwhile(self: SecureRandom, words: np.ndarray) -> None:
        if not refused:
            try:
                random.gaussian(1)
            except RuntimeError as error:
                refused.append(str(error))
        sound(self, words)

    monkeypatch.setattr(SecureRandom, "fill", meanwhile)
    assert random.gaussian(5).shape == (5,)
    assert refused == ["two threads draw from one SecureRandom: give each its own"]


def test_fill_writes_all_words_across_two_keys() -> None:
    random = SecureRandom()
    random.bytes((1 << 26) - 24)
    first = random._encryptor
    words = np.zeros(8, dtype=np.int64)
    random.fill(words)
    assert len(np.unique(words)) == 8
    assert words.all()
    assert random._encryptor is not first


@pytest.mark.parametrize("layer", [1, 2, 500, 1000, 1022, 1023])
@pytest.mark.parametrize("sign", [1, -1])
def test_a_place_under_no_certain_part_of_the_curve_is_kept_by_its_height(
    monkeypatch: pytest.MonkeyPatch, layer: int, sign: int
) -> None:
    layers = _normal._layers()
    x = sign * 0.5 * (layers.inner[layer] + layers.step[layer] * 2.0**53)
    word = int(x / layers.step[layer]) << 10 | layer
    prob = (math.exp(-0.5 * x**2) - layers.floor[layer]) / layers.height[layer]
    assert 0.01 < prob < 0.99

    def fill(self: SecureRandom, words: np.ndarray) -> None:
        words[:] = word

    def block(*heights: float) -> np.ndarray:
        monkeypatch.setattr(SecureRandom, "uniform", lambda self, count: np.resize(heights, count))
        random = SecureRandom()
        return random._normals._block(random)

    monkeypatch.setattr(SecureRandom, "fill", fill)
    kept = block(prob - 1e-9)
    assert len(kept) == 1 << 16
    assert np.abs(kept - x).max() < 1e-14
    assert len(block(prob - 1e-9, prob + 1e-9)) == 1 << 15
    assert len(block(prob + 1e-9)) == 0


def test_layers_have_equal_areas_and_cover_the_curve() -> None:
    layers = _normal._layers()
    widths = layers.step * 2.0**53
    areas = widths * layers.height
    assert np.abs(areas / areas[0] - 1).max() < 1e-11
    curve = lambda x: np.exp(-0.5 * x**2)  # noqa: E731
    assert layers.floor[0] == 0
    assert (np.diff(layers.floor) > 0).all()
    assert layers.floor[-1] + layers.height[-1] >= 1
    # A layer reaches to where the curve crosses its floor, and lies under it up to where it crosses its top.
    assert np.abs(curve(widths[1:]) - layers.floor[1:]).max() < 1e-12
    top = (layers.floor + layers.height)[1:-1]
    assert np.abs(curve(layers.inner[1:-1]) - top).max() < 1e-12
    # The lowest: a rectangle up to the tail, and the tail, together as large as the others.
    tail = np.sqrt(np.pi / 2) * math.erfc(_normal._TAIL_FROM / np.sqrt(2))
    assert abs(_normal._TAIL_FROM * layers.height[0] + tail - areas[0]) < 1e-12 * areas[0]
    with pytest.raises(ValueError, match="read-only"):
        layers.step[0] = 1


def _worst_error(near: float, *, coarser: int = 1) -> float:
    """The largest relative error in the probability of intervals of width 2**-21, from the count of places in them."""
    layers = _normal._layers()
    curve, total = math.sqrt(math.pi / 2), 1024 * float(layers.step[0] * 2.0**53 * layers.height[0])
    step = layers.step * coarser
    worst = 0.0
    for shift in np.linspace(0, 1, 97):
        low = near + shift * 2.0**-21 + 2.0**-40
        high = low + 2.0**-21
        middle = 0.5 * (low + high)
        places = np.floor(high / step) - np.floor(low / step)
        kept = np.clip((math.exp(-0.5 * middle**2) - layers.floor) / layers.height, 0, 1)
        kept[0] = high < _normal._TAIL_FROM
        kept[1:][step[1:] * (2.0**53 / coarser) < low] = 0
        prob = float((places * kept).sum()) * coarser / 2.0**54 * total / curve / 1024
        # The mean of the density over the interval, by its second derivative.
        density = math.exp(-0.5 * middle**2) / math.sqrt(2 * math.pi) * (1 + (middle**2 - 1) * 2.0**-42 / 24)
        worst = max(worst, abs(prob / (density * (high - low)) - 1))
    return worst


@pytest.mark.parametrize("near", [0.0, 1e-3, 0.7, 1.5, 2.9, 3.7, 4.02])
def test_probabilities_of_narrow_intervals_are_right_to_27_bits(near: float) -> None:
    """What the guarantee of noisy sums rests on: every rounded value has its probability, wherever the sum lies."""
    assert _worst_error(near) < 2.0**-27
    assert _worst_error(near, coarser=1 << 16) > 2.0**-27, "the control: places with 16 bits fewer do not"


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
