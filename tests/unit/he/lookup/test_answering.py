"""Lookups from end to end: the right record comes out, nothing else does, and noise is as predicted."""

from __future__ import annotations

import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import ks_2samp

from wardline.core import SecureRandom, Seeds
from wardline.core.errors import IntegrityError, UsageError
from wardline.he.ciphertext import Ciphertext
from wardline.he.frames.evaluation_keys import expand_keys
from wardline.he.kernels.modular import subtract
from wardline.he.kernels.splitting import split_bits
from wardline.he.kernels.switching import divide_by_last
from wardline.he.lookup import answering
from wardline.he.lookup.answering import answer_question, unsafe_answer
from wardline.he.lookup.asking import ask_record, lookup_keys, read_record
from wardline.he.lookup.database import build_database, open_database
from wardline.he.lookup.plan import LookupPlan, plan_lookup
from wardline.he.seal.bridge import SealLattice

RECORDS, RECORD_BYTES = 80, 4000  # of the fixture


def bare(small, index: int, **rest: Any) -> np.ndarray:
    question = ask_record(small.lattice, small.plan, index)
    return unsafe_answer(question, small.keys, plan=small.plan, polynomials=small.database.polynomials, **rest)


def reply_to(small, index: int) -> Ciphertext:
    return answer_question(ask_record(small.lattice, small.plan, index), small.keys, database=small.database)


def shrunk(parts: np.ndarray, small, limbs: int) -> np.ndarray:
    for left in range(parts.shape[1], limbs, -1):
        parts = divide_by_last(parts, moduli=small.plan.parameters.moduli[:left], form="coefficients")
    return parts


@pytest.mark.parametrize("index", [0, 9, 10, 35, RECORDS - 1])
def test_the_record_comes_out(small, index: int) -> None:
    found = read_record(small.lattice, small.plan, reply_to(small, index))
    assert found == small.records[index].tobytes()


def test_indices_and_keys_that_do_not_fit_are_refused(small) -> None:
    for index in (-1, RECORDS):
        with pytest.raises(UsageError, match=f"no record {index}"):
            ask_record(small.lattice, small.plan, index)
    other = plan_lookup(10, 10, limbs=4)
    for work in (lambda: ask_record(small.lattice, other, 0), lambda: lookup_keys(small.lattice, other)):
        with pytest.raises(ValueError, match="other parameters"):
            work()


def test_questions_and_keys_of_others_are_refused(small) -> None:
    question = ask_record(small.lattice, small.plan, 1)
    fewer = dict(small.keys.galois)
    fewer.pop(small.plan.elements[0])
    for keys in (replace(small.keys, galois=fewer), replace(small.keys, relinearisation=None)):
        with pytest.raises(IntegrityError, match="lookup takes"):
            answer_question(question, keys, database=small.database)
    two = replace(question, c0=np.repeat(question.c0, 2, axis=0), seeds=np.repeat(question.seeds, 2, axis=0))
    with pytest.raises(IntegrityError, match="one ciphertext"):
        answer_question(two, small.keys, database=small.database)
    with pytest.raises(IntegrityError, match="left out"):
        answer_question(replace(question, dropped_bits=9), small.keys, database=small.database)
    short = replace(question, c0=np.ascontiguousarray(question.c0[:, :4]))
    with pytest.raises(IntegrityError, match="all limbs"):
        answer_question(short, small.keys, database=small.database)


def test_threads_change_nothing(small) -> None:
    question = ask_record(small.lattice, small.plan, 50)
    arguments = {"plan": small.plan, "polynomials": small.database.polynomials}
    one, three = (unsafe_answer(question, small.keys, threads=threads, **arguments) for threads in (1, 3))
    assert np.array_equal(one, three)


def extreme(small_plain_bits: int, seed: int) -> np.ndarray:
    """Records whose coefficients are as large as they can be, with random signs."""
    generator = Seeds(seed).numpy("signs")
    bits = np.ones((RECORDS, 8 * RECORD_BYTES), dtype=np.uint8)
    last = bits[:, small_plain_bits - 1 :: small_plain_bits]
    signs = generator.integers(0, 2, last.shape, dtype=np.uint8)
    for place in range(small_plain_bits):
        piece = bits[:, place::small_plain_bits]
        piece[...] = (
            signs[:, : piece.shape[1]]
            if place == small_plain_bits - 1
            else 1 - np.pad(signs, ((0, 0), (0, 1)))[:, : piece.shape[1]]
        )
    return np.packbits(bits, axis=1, bitorder="little")


@pytest.mark.parametrize("plain_bits", [45, 16])
def test_noise_is_as_predicted_for_the_worst_records(plain_bits: int, other_small: Callable[..., Any]) -> None:
    # With 45 bits the noise comes from the records, with 16 from the gates. Each estimate of a standard deviation is
    # from 2 x 8192 coefficients, whose relative error is about half a percent.
    small = other_small(extreme(plain_bits, 2), plain_bits=plain_bits)
    assert np.abs(split_bits(small.records, plain_bits)[:, :-1] - (1 << plain_bits - 1)).max() <= 1
    found = np.concatenate([small.noise(bare(small, index), index) for index in (33, 79)])
    assert 0.75 < found.std() / small.plan.noise() < 1.1
    assert np.abs(found).max() < 8 * small.plan.noise()


def test_other_records_of_the_polynomial_stay(small) -> None:
    plan, index = small.plan, 24
    neighbour = small.records[index + 1].tobytes()
    open_parts = shrunk(bare(small, index), small, plan.reply_limbs)
    parameters = plan.parameters

    def after(parts: np.ndarray) -> bytes:
        """What decrypts where the next record would be."""
        one = Ciphertext(parameters=parameters, parts=parts, form="coefficients")
        values = small.lattice.decrypt_coefficients([one])[0][plan.span * plan.unit :][: plan.coefficients]
        shifted = np.concatenate([values & ((1 << plan.plain_bits) - 1)])
        bits = (shifted[:, None] >> np.arange(plan.plain_bits)) & 1
        return np.packbits(bits.astype(np.uint8).reshape(-1), bitorder="little")[: plan.record_bytes].tobytes()

    assert after(open_parts) == neighbour  # without protection it is there
    reply = reply_to(small, index)
    assert not reply.parts[0, :, plan.coefficients :].any()
    found = np.frombuffer(after(reply.parts), dtype=np.uint8)
    same = (np.unpackbits(found) == np.unpackbits(np.frombuffer(neighbour, dtype=np.uint8))).mean()
    assert abs(same - 0.5) < 0.5 * 5 / np.sqrt(8 * plan.record_bytes) * 2  # 10 standard deviations of fair coins


def test_noise_says_nothing_of_the_records(small, other_small: Callable[..., Any]) -> None:
    # Two databases that differ in all records but the one looked up. Kolmogorov-Smirnov, at a false alarm of 1e-6,
    # on 3 x 712 coefficients: it detects a shift of a tenth of the range, or a width that differs by a sixth.
    index = 40
    records = np.zeros_like(small.records)
    records[index] = small.records[index]
    other = other_small(records, lattice=small.lattice)
    used = slice(0, small.plan.coefficients)
    plain = [np.concatenate([one.noise(bare(one, index), index)[used] for _ in range(3)]) for one in (small, other)]
    assert ks_2samp(*plain).pvalue < 1e-6  # without flooding a single reply tells them apart
    flooded = [
        np.concatenate([one.noise(reply_to(one, index).parts, index)[used] for _ in range(3)]) for one in (small, other)
    ]
    assert ks_2samp(*flooded).pvalue > 1e-6


def test_replies_to_the_same_question_share_nothing(small) -> None:
    question = ask_record(small.lattice, small.plan, 3)
    one, other = (answer_question(question, small.keys, database=small.database) for _ in range(2))
    same = (one.parts[1] == other.parts[1]).mean()
    assert same < 1e-3
    bare_ones = [
        unsafe_answer(question, small.keys, plan=small.plan, polynomials=small.database.polynomials) for _ in range(2)
    ]
    assert np.array_equal(*bare_ones)
    # The flooding is uniform over its whole range: 712 numbers reach beyond nine tenths of it.
    noise = small.noise(one.parts, 3)[: small.plan.coefficients]
    moduli = small.plan.parameters.moduli
    scale = 2.0**small.plan.flood_bits / np.prod([float(p) for p in moduli[one.limbs : small.plan.flood_limbs]])
    assert 0.9 * scale < np.abs(noise).max() < 1.01 * scale + 1000


def test_the_work_does_not_depend_on_the_index(small, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[str, tuple[int, ...], tuple[int, ...]]] = []
    for name in ("choose", "divide_by_last", "expand_numbers", "make_gates", "selected_sums", "times_monomial"):
        plain = getattr(answering, name)

        def traced(first: np.ndarray, *rest: Any, name: str = name, plain: Any = plain, **more: Any) -> Any:
            calls.append((name, first.shape, tuple(one for one in rest if isinstance(one, int))))
            return plain(first, *rest, **more)

        monkeypatch.setattr(answering, name, traced)
    traces = []
    for index in (0, 47, RECORDS - 1):
        calls.clear()
        reply_to(small, index)
        traces.append(list(calls))
    assert traces[0] == traces[1] == traces[2]
    assert {one[0] for one in traces[0]} >= {"expand_numbers", "make_gates", "selected_sums", "choose"}


def test_a_question_is_an_encryption_like_any_other(small) -> None:
    # Of the same index, two questions share nothing: their c0 differ in all limbs nearly everywhere.
    one, other = (ask_record(small.lattice, small.plan, 9) for _ in range(2))
    assert one.c0.shape == other.c0.shape
    assert (one.c0 == other.c0).mean() < 1e-3
    assert (one.seeds != other.seeds).any()
    moduli = small.plan.parameters.moduli
    spread = subtract(one.c0, other.c0, moduli=moduli).astype(float) / np.array(moduli, dtype=float)[:, None]
    assert abs(spread.mean() - 0.5) < 6 * np.sqrt(1 / 12 / spread.size)


def test_other_keys_read_no_record(small) -> None:
    stranger = SealLattice.generate(small.plan.parameters)
    with pytest.raises(IntegrityError, match="no record"):
        read_record(stranger, small.plan, reply_to(small, 5))
    full = Ciphertext(
        parameters=small.plan.parameters,
        parts=np.zeros((2, 5, small.plan.parameters.degree), dtype=np.uint32),
        form="coefficients",
    )
    with pytest.raises(ValueError, match="limbs"):
        read_record(small.lattice, small.plan, full)


def test_a_given_source_of_randomness_is_used(small) -> None:
    reply = answer_question(
        ask_record(small.lattice, small.plan, 6), small.keys, database=small.database, random=SecureRandom(), threads=2
    )
    assert read_record(small.lattice, small.plan, reply) == small.records[6].tobytes()


def test_the_server_loads_no_seal() -> None:
    code = (
        "import sys, wardline.he.lookup.answering, wardline.he.lookup.parcels; "
        "bad = [m for m in sys.modules if m.startswith(('tenseal', 'zstandard', 'wardline.he.seal'))]; "
        "sys.exit(str(bad) if bad else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("count", "size", "rows", "doublings"), [(700, 20, 1, 6), (20_000, 3, 2, 6), (9, 9000, 2, 5), (1, 1, 1, 5)]
)
def test_layouts_of_every_kind_are_looked_up_in(
    tmp_path: Path, small, count: int, size: int, rows: int, doublings: int
) -> None:
    # Several records in a unit and several units in a record, one row and several, a single record: all places.
    records = Seeds(count).numpy("records").integers(0, 256, (count, size), dtype=np.uint8)
    plan = LookupPlan(
        parameters=small.plan.parameters, records=count, record_bytes=size, rows=rows, doublings=doublings
    )
    build_database(tmp_path, records, plan=plan)
    database = open_database(tmp_path)
    keys = expand_keys(lookup_keys(small.lattice, plan))
    for index in {count - 1, min(count - 1, plan.places - 1), min(count - 1, plan.places)}:
        reply = answer_question(ask_record(small.lattice, plan, index), keys, database=database)
        assert read_record(small.lattice, plan, reply) == records[index].tobytes()


def test_memory_stays_below_what_the_plan_says(small) -> None:
    question = ask_record(small.lattice, small.plan, 2)
    for threads in (1, 2):
        tracemalloc.start()
        before = tracemalloc.get_traced_memory()[0]
        answer_question(question, small.keys, database=small.database, threads=threads)
        peak = tracemalloc.get_traced_memory()[1] - before
        tracemalloc.stop()
        assert 0.2 * small.plan.memory_bytes(threads) < peak < small.plan.memory_bytes(threads)
