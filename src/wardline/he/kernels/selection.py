"""Choosing among polynomials by encrypted numbers: expansion of a question, gates, and sums over a database.

Ciphertexts are by coefficients where nothing else is said, and key switchings take digits centred around 0: with
digits from 0 on, half of every prime would multiply the errors of a key into a noise that is large in few places.
One switching takes 42 transforms; arrays that they need are made once a thread, since to get memory from the system
anew takes as long as to fill it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from wardline.he.ciphertext import Residues
from wardline.he.kernels.modular import (
    ONE_QUOTIENT,
    PRIME,
    RECIPROCAL,
    SHIFT,
    WORD,
    WORD_QUOTIENT,
    constants,
    njit,
    reduce_word,
    rows_of,
    shoup,
)
from wardline.he.kernels.transform import _forward, _inverse, tables  # in place, which the public ones do not offer
from wardline.he.parameters import Parameters

BLOCK = 1024
"""Coefficients of a polynomial that lie together in a database: 4 KiB of one limb, a page of memory."""

_B1, _B2, _B3, _B4, _B5, _B6, _B7 = (np.uint64(k * BLOCK) for k in range(1, 8))
_LANES = 1024  # coefficients whose accumulators are kept at once in a product with a key


def expand_numbers(
    question: Residues,
    keys: Mapping[int, Residues],
    parameters: Parameters,
    *,
    count: int,
    doublings: int,
    threads: int = 1,
) -> Residues:
    """Ciphertexts of the first coefficients of one ciphertext's message, each as a constant polynomial.

    What is encrypted comes out times 2^doublings; the one who encrypts divides by it modulo the moduli.

    Args:
        question: [2, limbs, degree], fresh.
        keys: by the Galois elements degree / 2^k + 1, k below `doublings`, [limbs, 2, limbs + 1, degree] in NTT form.
        parameters: with a special prime.
        count: how many coefficients, at most 2^doublings; the others up to there must be 0 in the message.
        doublings: of the number of ciphertexts.
        threads: among which the ciphertexts of a doubling are shared out.

    Returns:
        [count, 2, limbs, degree].

    Raises:
        ValueError: for shapes that do not fit, a key that is missing, or more numbers than there are.

    References: Angel, Chen, Laine, Setty 2018 (PIR with compressed queries), section 3.3.
    """
    degree, limbs = parameters.degree, len(parameters.moduli)
    if question.shape != (2, limbs, degree) or not 1 <= count <= 1 << doublings or 1 << doublings > degree // 2:
        raise ValueError("a question is one ciphertext [2, limbs, degree] of at most 2^doublings numbers")
    elements = [degree // (1 << level) + 1 for level in range(doublings)]
    if any(element not in keys or keys[element].shape != _key_shape(parameters) for element in elements):
        raise ValueError("keys for the expansion of a question are missing")
    ring = _ring(parameters)
    out = np.empty((count, *question.shape), dtype=np.uint32)
    out[0] = question
    for level, element in enumerate(elements):
        arguments = 1 << level, keys[element], _sources(element, degree), ring

        def work(first: int, last: int, spaces: Any, arguments: Any = arguments) -> None:
            _expand_nodes(out, first, last, *arguments, spaces)

        _share(work, min(1 << level, count), threads, parameters)
    return out


def make_gates(numbers: Residues, relinearisation: Residues, parameters: Parameters, *, threads: int = 1) -> Residues:
    """Encrypted bits as what a ciphertext can be multiplied by.

    Args:
        numbers: [bits, limbs, 2, limbs, degree]; number i of a bit encrypts it modulo prime i, and 0 modulo the others.
        relinearisation: the key for s^2 [limbs, 2, limbs + 1, degree].
        parameters: with a special prime.
        threads: among which the bits are shared out.

    Returns:
        [bits, 2 limbs, 2, limbs, degree] in NTT form: what the digits of c0 are multiplied by, and those of c1.

    Raises:
        ValueError: for shapes that do not fit.

    References: Gentry, Sahai, Waters 2013; Mughees, Chen, Ren 2021 (OnionPIR), section 4.2, for the conversion.
    """
    limbs = len(parameters.moduli)
    if numbers.shape[1:] != (limbs, 2, limbs, parameters.degree) or relinearisation.shape != _key_shape(parameters):
        raise ValueError("a bit comes as one ciphertext a limb, [limbs, 2, limbs, degree], with a switching key")
    rows = np.empty((len(numbers), 2 * limbs, 2, limbs, parameters.degree), dtype=np.uint32)
    ring = _ring(parameters)

    def work(first: int, last: int, spaces: Any) -> None:
        _make_gates(numbers[first:last], relinearisation, ring, spaces, rows[first:last])

    _share(work, len(numbers), threads, parameters)
    return rows


def choose(zeros: Residues, ones: Residues, gate: Residues, parameters: Parameters, *, threads: int = 1) -> Residues:
    """Of each pair of ciphertexts one, by an encrypted bit; the work does not depend on the bit.

    Args:
        zeros: [count, 2, limbs, degree].
        ones: the same.
        gate: [2 limbs, 2, limbs, degree], one of `make_gates`.
        parameters: with a special prime, which is not used here.
        threads: among which the pairs are shared out.

    Returns:
        [count, 2, limbs, degree].

    Raises:
        ValueError: for shapes that do not fit.

    References: Chillotti, Gama, Georgieva, Izabachene 2016, section 3.4 (the gate); one digit a limb here.
    """
    limbs, degree = len(parameters.moduli), parameters.degree
    if zeros.shape[1:] != (2, limbs, degree) or ones.shape != zeros.shape:
        raise ValueError("pairs are [count, 2, limbs, degree]")
    if gate.shape != (2 * limbs, 2, limbs, degree):
        raise ValueError("a gate is [2 limbs, 2, limbs, degree]")
    out = np.empty_like(zeros)
    ring = _ring(parameters)

    def work(first: int, last: int, spaces: Any) -> None:
        _choose(zeros[first:last], ones[first:last], gate, ring, spaces, out[first:last])

    _share(work, len(zeros), threads, parameters)
    return out


def switch_centred(polynomial: Residues, key: Residues, parameters: Parameters) -> Residues:
    """(d0, d1) with d0 + d1 s close to p s', for a polynomial p and a key from s' to s, by centred digits.

    Args:
        polynomial: [limbs, degree], all limbs, by coefficients.
        key: [limbs, 2, limbs + 1, degree] in NTT form, the special prime last.
        parameters: with a special prime.

    Returns:
        [2, limbs, degree], by coefficients.

    Raises:
        ValueError: for shapes that do not fit, or no special prime.
    """
    if key.shape != _key_shape(parameters) or polynomial.shape != (len(parameters.moduli), parameters.degree):
        raise ValueError("a polynomial [limbs, degree] is switched with a key [limbs, 2, limbs + 1, degree]")
    out = np.empty((2, *polynomial.shape), dtype=np.uint32)
    _switch(polynomial, key, _ring(parameters), _spaces(parameters), out)
    return out


def _key_shape(parameters: Parameters) -> tuple[int, ...]:
    limbs = len(parameters.moduli)
    return limbs, 2, limbs + 1, parameters.degree


@lru_cache(maxsize=8)
def _ring(parameters: Parameters) -> tuple[npt.NDArray[Any], ...]:
    """What the kernels need of the primes, the special one last: constants, roots there and back, divisors, inverses.

    Raises:
        ValueError: without a special prime.
    """
    if parameters.special is None:
        raise ValueError("keys are switched with a special prime, which these parameters lack")
    every = [tables(prime, parameters.degree) for prime in parameters.primes]
    inverses = [pow(parameters.special, -1, prime) for prime in parameters.moduli]
    return (
        constants(parameters.primes),
        np.stack([one.forward for one in every]),
        np.stack([one.inverse for one in every]),
        np.array([one.divisor for one in every], dtype=np.uint64),
        np.array(
            [(one, (one << 32) // q) for one, q in zip(inverses, parameters.moduli, strict=True)], dtype=np.uint64
        ),
    )


def _spaces(parameters: Parameters) -> tuple[Residues, ...]:
    """Room for one switching or gate: digits, sums, the halves of a transform, and two ciphertexts."""
    limbs, degree = len(parameters.moduli), parameters.degree
    return (
        np.empty((limbs, limbs + 1, degree), dtype=np.uint32),
        np.empty((2 * limbs, limbs, degree), dtype=np.uint32),
        np.empty((2, limbs + 1, degree), dtype=np.uint32),
        np.empty((2, degree), dtype=np.uint32),
        np.empty((2, limbs, degree), dtype=np.uint32),
        np.empty((2, limbs, degree), dtype=np.uint32),
    )


def _share(work: Callable[[int, int, Any], None], count: int, threads: int, parameters: Parameters) -> None:
    """Do work from 0 up to `count`, in as many shares as there are threads, each with room of its own.

    Raises:
        ValueError: for no thread.
    """
    if threads < 1:
        raise ValueError("threads must be at least 1")
    ends = [count * i // threads for i in range(threads + 1)]
    shares = [(first, last) for first, last in pairwise(ends) if first < last]
    if len(shares) == 1:
        work(*shares[0], _spaces(parameters))
        return
    with ThreadPoolExecutor(threads) as pool:
        for job in [pool.submit(work, first, last, _spaces(parameters)) for first, last in shares]:
            job.result()


def apply_element(polynomials: Residues, element: int, *, moduli: tuple[int, ...]) -> Residues:
    """The polynomials p(X^element), by coefficients.

    Args:
        polynomials: [..., limbs, degree].
        element: odd, from 1 up to, and without, twice the degree.
        moduli: of the limbs.

    Raises:
        ValueError: for another element.
    """
    flat = rows_of(polynomials, moduli)
    degree = flat.shape[2]
    if not (0 < element < 2 * degree and element % 2):
        raise ValueError(f"{element} is no odd number between 1 and {2 * degree}")
    out = np.empty_like(flat)
    _gather(flat, *_sources(element, degree), constants(moduli), out)
    return out.reshape(polynomials.shape)


@lru_cache(maxsize=64)
def _sources(element: int, degree: int) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.uint32]]:
    """From where each coefficient of p(X^element) comes, and all ones where it changes its sign."""
    target = np.arange(degree, dtype=np.int64) * element % (2 * degree)
    sources = np.empty(degree, dtype=np.uint32)
    signs = np.empty(degree, dtype=np.uint32)
    sources[target % degree] = np.arange(degree)
    signs[target % degree] = np.where(target >= degree, np.uint32(0xFFFFFFFF), np.uint32(0))
    sources.flags.writeable = signs.flags.writeable = False
    return sources, signs


def times_monomial(polynomials: Residues, power: int, *, moduli: tuple[int, ...]) -> Residues:
    """The polynomials times X^power, by coefficients: they move, and change their sign where they come round.

    Args:
        polynomials: [..., limbs, degree].
        power: any integer.
        moduli: of the limbs.
    """
    flat = rows_of(polynomials, moduli)
    degree = flat.shape[2]
    places = power % (2 * degree)
    out = np.empty_like(flat)
    _shift(flat, places % degree, places >= degree, constants(moduli), out)
    return out.reshape(polynomials.shape)


def blocked(polynomials: Residues) -> Residues:
    """Selectors or columns as the sums over a database read them: [count, ..., limbs, degree] with blocks outside.

    Returns:
        [limbs, degree / BLOCK, count, ..., BLOCK].
    """
    *leading, limbs, degree = polynomials.shape
    apart = polynomials.reshape(*leading, limbs, degree // BLOCK, BLOCK)
    axes = len(leading)
    return np.ascontiguousarray(np.transpose(apart, (axes, axes + 1, *range(axes), axes + 2)))


def selected_sums(
    selectors: Residues, database: npt.NDArray[np.uint32], *, moduli: tuple[int, ...], threads: int = 1
) -> Residues:
    """For each column of a grid of polynomials the sum of its rows times their selectors; everything in NTT form.

    The database is read once, from its beginning to its end.

    Args:
        selectors: [rows, 2, limbs, degree].
        database: [limbs, degree / BLOCK, columns, rows, BLOCK], below the primes.
        moduli: of the limbs.
        threads: among which limbs and blocks are shared out.

    Returns:
        [columns, 2, limbs, degree].

    Raises:
        ValueError: for shapes that do not fit, or no thread.

    Guarantee: exact. Which numbers are read, and in which order, depends on the shapes alone.
    """
    rows, parts, limbs, degree = selectors.shape
    blocks = degree // BLOCK
    if database.ndim != 5 or parts != 2 or limbs != len(moduli) or threads < 1:
        raise ValueError("selectors are [rows, 2, limbs, degree], and threads at least 1")
    if database.shape[:2] != (limbs, blocks) or database.shape[3:] != (rows, BLOCK) or database.dtype != np.uint32:
        raise ValueError(f"a database for {rows} selectors is [{limbs}, {blocks}, columns, {rows}, {BLOCK}]")
    out = np.empty((database.shape[2], 2, limbs, degree), dtype=np.uint32)
    arguments = blocked(selectors), database, constants(moduli)
    ends = [limbs * blocks * i // threads for i in range(threads + 1)]
    if threads == 1:
        _sum_selected(*arguments, 0, ends[-1], out)
        return out
    with ThreadPoolExecutor(threads) as pool:
        for job in [pool.submit(_sum_selected, *arguments, first, last, out) for first, last in pairwise(ends)]:
            job.result()
    return out


@njit
def _switch(polynomial: Any, key: Any, ring: Any, spaces: Any, out: Any) -> None:
    """Digits, their products with the key, and the division by the special prime: [limbs, degree] to two of them."""
    table, forward, back, divisors, factors = ring
    digits, _, sums, spare, _, _ = spaces
    limbs = out.shape[1]
    _spread(polynomial, table, digits)
    for limb in range(limbs + 1):
        _forward(digits, digits, spare, limb, np.uint32(table[limb, PRIME]), forward[limb])
    _multiply_rows(digits, key, table, sums)
    for limb in range(limbs + 1):
        _inverse(sums, sums, spare, limb, np.uint32(table[limb, PRIME]), back[limb], divisors[limb])
    special = table[limbs, PRIME]
    half = special >> np.uint64(1)
    for part in range(2):
        a = sums[part, limbs]
        for limb in range(limbs):
            prime, quotient = table[limb, PRIME], table[limb, ONE_QUOTIENT]
            factor, its_quotient = factors[limb, 0], factors[limb, 1]
            below = half % prime
            b, c = sums[part, limb], out[part, limb]
            for i in range(c.shape[0]):
                shifted = np.uint64(a[i]) + half
                shifted = min(shifted, shifted - special)
                left = shoup(shifted, np.uint64(1), quotient, prime)
                left = min(left, left - prime)
                # Below 3q, which is less than 2^33: brought below 2^32 before it is multiplied.
                left = np.uint64(b[i]) + below + (prime - left)
                left = min(left, left - prime)
                left = min(left, left - prime)
                left = shoup(left, factor, its_quotient, prime)
                c[i] = np.uint32(min(left, left - prime))


@njit
def _expand_nodes(out: Any, first: Any, last: Any, step: Any, key: Any, moves: Any, ring: Any, spaces: Any) -> None:
    """Double ciphertexts `first` up to, and without, `last`: c + c(X^g), and X^-step (c - c(X^g)) a step further on."""
    table = ring[0]
    turned, switched = spaces[4], spaces[5]
    count, _, limbs, degree = out.shape
    for node in range(first, last):
        _gather(out[node], moves[0], moves[1], table, turned)
        _switch(turned[1], key, ring, spaces, switched)
        other = node + step
        for part in range(2):
            for limb in range(limbs):
                prime = np.uint32(table[limb, PRIME])
                a, b = out[node, part, limb], switched[part, limb]
                if part == 0:
                    t = turned[0, limb]
                    for i in range(degree):
                        total = np.uint32(b[i] + t[i])
                        b[i] = min(total, np.uint32(total - prime))
                if other < count:
                    c = out[other, part, limb]
                    for i in range(degree - step):
                        difference = np.uint32(a[i + step] - b[i + step])
                        c[i] = min(difference, np.uint32(difference + prime))
                    for i in range(step):
                        difference = np.uint32(b[i] - a[i])
                        c[degree - step + i] = min(difference, np.uint32(difference + prime))
                for i in range(degree):
                    total = np.uint32(a[i] + b[i])
                    a[i] = min(total, np.uint32(total - prime))


@njit
def _make_gates(numbers: Any, key: Any, ring: Any, spaces: Any, rows: Any) -> None:
    table, forward = ring[0], ring[1]
    spare, switched = spaces[3], spaces[5]
    _, limbs, _, _, degree = numbers.shape
    for bit in range(numbers.shape[0]):
        rows[bit, :limbs] = numbers[bit]
        for index in range(limbs):
            # (c0 + c1 s) s = c0 s + c1 s^2, and the key brings the last term back to two parts.
            _switch(numbers[bit, index, 1], key, ring, spaces, switched)
            for limb in range(limbs):
                prime = np.uint32(table[limb, PRIME])
                a, b = switched[1, limb], numbers[bit, index, 0, limb]
                for i in range(degree):
                    total = np.uint32(a[i] + b[i])
                    a[i] = min(total, np.uint32(total - prime))
            rows[bit, limbs + index] = switched
        flat = rows[bit].reshape(4 * limbs, limbs, degree)
        for limb in range(limbs):
            _forward(flat, flat, spare, limb, np.uint32(table[limb, PRIME]), forward[limb])


@njit
def _choose(zeros: Any, ones: Any, gate: Any, ring: Any, spaces: Any, out: Any) -> None:
    table, forward, back, divisors, _ = ring
    _, digits, _, spare, difference, _ = spaces
    count, _, limbs, degree = zeros.shape
    for pair in range(count):
        for part in range(2):
            for limb in range(limbs):
                prime = np.uint32(table[limb, PRIME])
                a, b, c = zeros[pair, part, limb], ones[pair, part, limb], difference[part, limb]
                for i in range(degree):
                    left = np.uint32(b[i] - a[i])
                    c[i] = min(left, np.uint32(left + prime))
            _spread(difference[part], table, digits[part * limbs : (part + 1) * limbs])
        for limb in range(limbs):
            _forward(digits, digits, spare, limb, np.uint32(table[limb, PRIME]), forward[limb])
        found = out[pair]
        _multiply_rows(digits, gate, table, found)
        for limb in range(limbs):
            prime = np.uint32(table[limb, PRIME])
            _inverse(found, found, spare, limb, prime, back[limb], divisors[limb])
            for part in range(2):
                a, c = zeros[pair, part, limb], found[part, limb]
                for i in range(degree):
                    total = np.uint32(a[i] + c[i])
                    c[i] = min(total, np.uint32(total - prime))


@njit
def _spread(plain: Any, table: Any, out: Any) -> None:
    """Each limb as integers from -q / 2 to q / 2, modulo other primes: [limbs, degree] to [limbs, primes, degree]."""
    for digit in range(plain.shape[0]):
        a, mine = plain[digit], table[digit, PRIME]
        middle = mine >> np.uint64(1)
        for limb in range(out.shape[1]):
            prime, quotient = table[limb, PRIME], table[limb, ONE_QUOTIENT]
            below = prime - middle % prime
            c = out[digit, limb]
            for i in range(c.shape[0]):
                shifted = np.uint64(a[i]) + middle
                shifted = min(shifted, shifted - mine)
                left = shoup(shifted, np.uint64(1), quotient, prime)
                left = min(left, left - prime) + below
                c[i] = np.uint32(min(left, left - prime))


@njit
def _gather(polynomials: Any, sources: Any, signs: Any, table: Any, out: Any) -> None:
    for row in range(polynomials.shape[0]):
        for limb in range(polynomials.shape[1]):
            prime = np.uint32(table[limb, PRIME])
            a, c = polynomials[row, limb], out[row, limb]
            for i in range(c.shape[0]):
                value = a[sources[i]]
                # 0 stays 0: q is above every residue, and wraps below none.
                negative = np.uint32(prime - value) if value else np.uint32(0)
                c[i] = np.uint32((value & ~signs[i]) | (negative & signs[i]))


@njit
def _shift(polynomials: Any, places: Any, negated: Any, table: Any, out: Any) -> None:
    degree = polynomials.shape[2]
    for row in range(polynomials.shape[0]):
        for limb in range(polynomials.shape[1]):
            prime = np.uint32(table[limb, PRIME])
            a, c = polynomials[row, limb], out[row, limb]
            _copy(a[degree - places :], c[:places], prime, not negated)
            _copy(a[: degree - places], c[places:], prime, negated)


@njit
def _copy(source: Any, target: Any, prime: Any, negated: Any) -> None:
    if negated:
        for i in range(target.shape[0]):
            value = np.uint32(prime - source[i])
            target[i] = min(value, np.uint32(value - prime))
    else:
        target[:] = source


@njit
def _multiply_rows(digits: Any, key: Any, table: Any, out: Any) -> None:
    count, limbs, degree = digits.shape
    kept = np.empty(_LANES, dtype=np.uint64)
    for part in range(2):
        for limb in range(limbs):
            prime, shift, reciprocal = table[limb, PRIME], table[limb, SHIFT], table[limb, RECIPROCAL]
            word, quotient = table[limb, WORD], table[limb, WORD_QUOTIENT]
            # A multiple of the prime just below 2^63: taken off after two products, it keeps sums below 2^64.
            much = (np.uint64(1 << 63) // prime) * prime
            for start in range(0, degree, _LANES):
                end = min(start + _LANES, degree)
                c = out[part, limb, start:end]
                kept[:] = 0
                for digit in range(0, count - 1, 2):
                    x, u = digits[digit, limb, start:end], key[digit, part, limb, start:end]
                    y, v = digits[digit + 1, limb, start:end], key[digit + 1, part, limb, start:end]
                    for i in range(end - start):
                        left = kept[i]
                        left = min(left, left - much)
                        kept[i] = left + np.uint64(x[i]) * np.uint64(u[i]) + np.uint64(y[i]) * np.uint64(v[i])
                if count % 2:
                    x, u = digits[count - 1, limb, start:end], key[count - 1, part, limb, start:end]
                    for i in range(end - start):
                        left = kept[i]
                        kept[i] = min(left, left - much) + np.uint64(x[i]) * np.uint64(u[i])
                for i in range(end - start):
                    c[i] = np.uint32(reduce_word(kept[i], prime, shift, reciprocal, word, quotient))


@njit
def _sum_selected(selectors: Any, database: Any, table: Any, first: Any, last: Any, out: Any) -> None:
    """Limbs and blocks `first` up to, and without, `last`."""
    blocks, columns, rows = database.shape[1], database.shape[2], database.shape[3]
    kept = np.empty(2 * BLOCK, dtype=np.uint64)
    whole = rows - rows % 4
    for unit in range(first, last):
        limb, block = unit // blocks, unit % blocks
        prime, shift, reciprocal = table[limb, PRIME], table[limb, SHIFT], table[limb, RECIPROCAL]
        word, quotient = table[limb, WORD], table[limb, WORD_QUOTIENT]
        much = (np.uint64(1 << 63) // prime) * prime
        start = block * BLOCK
        selecting = selectors[limb, block].reshape(rows * 2 * BLOCK)
        for column in range(columns):
            kept[:] = 0
            stored = database[limb, block, column].reshape(rows * BLOCK)
            for row in range(0, whole, 4):
                _add_four(stored[row * BLOCK : (row + 4) * BLOCK], selecting[2 * row * BLOCK :], much, kept)
            for row in range(whole, rows):
                _add_one(stored[row * BLOCK : (row + 1) * BLOCK], selecting[2 * row * BLOCK :], much, kept)
            for part in range(2):
                c = out[column, part, limb, start : start + BLOCK]
                sums = kept[part * BLOCK : (part + 1) * BLOCK]
                for i in range(BLOCK):
                    c[i] = np.uint32(reduce_word(sums[i], prime, shift, reciprocal, word, quotient))


@njit
def _add_four(stored: Any, selecting: Any, much: Any, kept: Any) -> None:
    """Four rows of a block, times their selectors for both parts.

    All of a kind is read from one array at fixed distances: of eight arrays the compiler could not tell that they do
    not overlap, and would make no vectors. Sums are kept below 2^63 and a little, and two products of 62 bits fit on top.
    """
    for place in range(BLOCK):
        i = np.uint64(place)
        d, e = np.uint64(stored[i]), np.uint64(stored[i + _B1])
        f, g = np.uint64(stored[i + _B2]), np.uint64(stored[i + _B3])
        left, right = kept[i], kept[i + _B1]
        left, right = min(left, left - much), min(right, right - much)
        left += d * np.uint64(selecting[i]) + e * np.uint64(selecting[i + _B2])
        right += d * np.uint64(selecting[i + _B1]) + e * np.uint64(selecting[i + _B3])
        left, right = min(left, left - much), min(right, right - much)
        left += f * np.uint64(selecting[i + _B4]) + g * np.uint64(selecting[i + _B6])
        right += f * np.uint64(selecting[i + _B5]) + g * np.uint64(selecting[i + _B7])
        kept[i], kept[i + _B1] = left, right


@njit
def _add_one(stored: Any, selecting: Any, much: Any, kept: Any) -> None:
    for place in range(BLOCK):
        i = np.uint64(place)
        d, left, right = np.uint64(stored[i]), kept[i], kept[i + _B1]
        kept[i] = min(left, left - much) + d * np.uint64(selecting[i])
        kept[i + _B1] = min(right, right - much) + d * np.uint64(selecting[i + _B1])
