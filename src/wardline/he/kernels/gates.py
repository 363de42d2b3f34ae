"""Expansion of one ciphertext into many, and gates by which encrypted bits choose among ciphertexts.

Ciphertexts are by coefficients where nothing else is said, and key switchings take digits centred around 0: with
digits from 0 on, half of every prime would multiply the errors of a key into a noise that is large in few places.
One switching takes 42 transforms; arrays that they need are made once a thread, since to get memory from the system
anew takes as long as to fill it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from wardline.he.ciphertext import Residues
from wardline.he.kernels.modular import (
    ONE,
    ONE_QUOTIENT,
    PRIME,
    RECIPROCAL,
    SHIFT,
    WORD,
    WORD_QUOTIENT,
    constants,
    njit,
    reduce_word,
    shoup,
)
from wardline.he.kernels.monomials import gather, sources
from wardline.he.kernels.transform import forward_limb, inverse_limb, tables
from wardline.he.parameters import Parameters

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

    With u = 2^doublings, coefficient i + k u is taken along as that of X^(k u) in the one that coefficient i becomes.
    What is encrypted comes out times u; the one who encrypts divides by it modulo the moduli.

    Args:
        question: [2, limbs, degree], fresh.
        keys: by the Galois elements degree / 2^k + 1, k below `doublings`, [limbs, 2, limbs + 1, degree] in NTT form.
        parameters: with a special prime.
        count: how many ciphertexts, at most 2^doublings; what belongs to others must be 0 in the message.
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
        arguments = 1 << level, keys[element], sources(element, degree)
        _share(partial(_expand_nodes, out, *arguments, ring), min(1 << level, count), threads, parameters)
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
    _share(partial(_make_gates, numbers, relinearisation, rows, _ring(parameters)), len(numbers), threads, parameters)
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
    _share(partial(_choose, zeros, ones, gate, out, _ring(parameters)), len(zeros), threads, parameters)
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
    _switch(np.ascontiguousarray(polynomial), key, _ring(parameters), _Room.of(parameters), out)
    return out


def _key_shape(parameters: Parameters) -> tuple[int, ...]:
    limbs = len(parameters.moduli)
    return limbs, 2, limbs + 1, parameters.degree


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Ring:
    """What the kernels need of the primes, the special one last: roots there and back, and inverses of that prime."""

    primes: tuple[np.uint32, ...]
    table: npt.NDArray[np.uint64]
    forward: tuple[npt.NDArray[np.uint32], ...]
    back: tuple[npt.NDArray[np.uint32], ...]
    divisors: tuple[npt.NDArray[np.uint64], ...]
    factors: npt.NDArray[np.uint64]


@lru_cache(maxsize=8)
def _ring(parameters: Parameters) -> _Ring:
    """For parameters with a special prime.

    Raises:
        ValueError: for others.
    """
    special = parameters.special
    if special is None:
        raise ValueError("keys are switched with a special prime, which these parameters lack")
    every = [tables(prime, parameters.degree) for prime in parameters.primes]
    inverses = [pow(special, -1, prime) for prime in parameters.moduli]
    pairs = [(one, (one << 32) // prime) for one, prime in zip(inverses, parameters.moduli, strict=True)]
    return _Ring(
        primes=tuple(np.uint32(prime) for prime in parameters.primes),
        table=constants(parameters.primes),
        forward=tuple(one.forward for one in every),
        back=tuple(one.inverse for one in every),
        divisors=tuple(np.array(one.divisor, dtype=np.uint64) for one in every),
        factors=np.array(pairs, dtype=np.uint64),
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Room:
    """One thread's arrays, used again and again: of a switching, of a gate, of a transform, and two ciphertexts."""

    digits: Residues
    gate_digits: Residues
    sums: Residues
    halves: Residues
    turned: Residues
    switched: Residues

    @classmethod
    def of(cls, parameters: Parameters) -> _Room:
        limbs, degree = len(parameters.moduli), parameters.degree
        return cls(
            digits=np.empty((limbs, limbs + 1, degree), dtype=np.uint32),
            gate_digits=np.empty((2 * limbs, limbs, degree), dtype=np.uint32),
            sums=np.empty((2, limbs + 1, degree), dtype=np.uint32),
            halves=np.empty((2, degree), dtype=np.uint32),
            turned=np.empty((2, limbs, degree), dtype=np.uint32),
            switched=np.empty((2, limbs, degree), dtype=np.uint32),
        )


def _share(work: Callable[[_Room, range], None], count: int, threads: int, parameters: Parameters) -> None:
    """Do work from 0 up to `count`, in as many shares as there are threads, each with room of its own.

    Raises:
        ValueError: for no thread.
    """
    if threads < 1:
        raise ValueError("threads must be at least 1")
    ends = [count * i // threads for i in range(threads + 1)]
    shares = [range(first, last) for first, last in pairwise(ends) if first < last]
    if len(shares) == 1:
        work(_Room.of(parameters), shares[0])
        return
    with ThreadPoolExecutor(threads) as pool:
        for job in [pool.submit(work, _Room.of(parameters), share) for share in shares]:
            job.result()


def _expand_nodes(
    out: Residues, step: int, key: Residues, moves: tuple[Any, Any], ring: _Ring, room: _Room, share: range
) -> None:
    for node in share:
        gather(out[node], *moves, ring.table, room.turned)
        _switch(room.turned[1], key, ring, room, room.switched)
        _combine(room.switched[0], room.turned[0], ring.table, room.switched[0], True)
        _double(out, node, step, room.switched, ring.table)


def _make_gates(numbers: Residues, key: Residues, rows: Residues, ring: _Ring, room: _Room, share: range) -> None:
    limbs, degree = numbers.shape[1], numbers.shape[4]
    for bit in share:
        rows[bit, :limbs] = numbers[bit]
        for index in range(limbs):
            # (c0 + c1 s) s = c0 s + c1 s^2, and the key brings the last term back to two parts.
            target = rows[bit, limbs + index]
            _switch(numbers[bit, index, 1], key, ring, room, target)
            _combine(target[1], numbers[bit, index, 0], ring.table, target[1], True)
        _transform(rows[bit].reshape(4 * limbs, limbs, degree), ring, room)


def _choose(
    zeros: Residues, ones: Residues, gate: Residues, out: Residues, ring: _Ring, room: _Room, share: range
) -> None:
    limbs = zeros.shape[2]
    for pair in share:
        for part in range(2):
            _combine(ones[pair, part], zeros[pair, part], ring.table, room.switched[part], False)
            _spread(room.switched[part], ring.table, room.gate_digits[part * limbs : (part + 1) * limbs])
        _transform(room.gate_digits, ring, room)
        found = out[pair]
        _multiply_rows(room.gate_digits, gate, ring.table, found)
        _transform_back(found, ring, room)
        for part in range(2):
            _combine(found[part], zeros[pair, part], ring.table, found[part], True)


def _transform(polynomials: Residues, ring: _Ring, room: _Room) -> None:
    """To NTT form in place: [rows, limbs, degree], of the first limbs of the ring."""
    for limb in range(polynomials.shape[1]):
        forward_limb(polynomials, polynomials, room.halves, limb, ring.primes[limb], ring.forward[limb])


def _transform_back(polynomials: Residues, ring: _Ring, room: _Room) -> None:
    for limb in range(polynomials.shape[1]):
        prime = ring.primes[limb]
        inverse_limb(polynomials, polynomials, room.halves, limb, prime, ring.back[limb], ring.divisors[limb])


def _switch(polynomial: Residues, key: Residues, ring: _Ring, room: _Room, out: Residues) -> None:
    """Digits, their products with the key, and the division by the special prime: [limbs, degree] to two of them."""
    _spread(polynomial, ring.table, room.digits)
    _transform(room.digits, ring, room)
    _multiply_rows(room.digits, key, ring.table, room.sums)
    _transform_back(room.sums, ring, room)
    _divide(room.sums, ring.table, ring.factors, out)


@njit
def _divide(sums: Any, table: Any, factors: Any, out: Any) -> None:
    """Division by the last prime, rounded: [2, limbs + 1, degree] to [2, limbs, degree], by coefficients."""
    limbs = out.shape[1]
    special = table[limbs, PRIME]
    half = special >> ONE
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
                left = shoup(shifted, ONE, quotient, prime)
                left = min(left, left - prime)
                # Below 3q: brought below 2^32 before it is multiplied.
                left = np.uint64(b[i]) + below + (prime - left)
                left = min(left, left - prime)
                left = min(left, left - prime)
                left = shoup(left, factor, its_quotient, prime)
                c[i] = np.uint32(min(left, left - prime))


@njit
def _double(out: Any, node: Any, step: Any, turned: Any, table: Any) -> None:
    """Put c + c(X^g) in place of c, and X^-step (c - c(X^g)) a step further on, if that far is wanted."""
    count, _, limbs, degree = out.shape
    other = node + step
    for part in range(2):
        for limb in range(limbs):
            prime = np.uint32(table[limb, PRIME])
            a, b = out[node, part, limb], turned[part, limb]
            if other < count:
                _subtract_into(a[step:], b[step:], prime, out[other, part, limb, : degree - step])
                _subtract_into(b[:step], a[:step], prime, out[other, part, limb, degree - step :])
            _add_into(a, b, prime, a)


@njit
def _add_into(a: Any, b: Any, prime: Any, out: Any) -> None:
    for i in range(out.shape[0]):
        total = np.uint32(a[i] + b[i])
        out[i] = min(total, np.uint32(total - prime))


@njit
def _subtract_into(a: Any, b: Any, prime: Any, out: Any) -> None:
    for i in range(out.shape[0]):
        difference = np.uint32(a[i] - b[i])
        out[i] = min(difference, np.uint32(difference + prime))


@njit
def _combine(left: Any, right: Any, table: Any, out: Any, adding: Any) -> None:
    """Sums or differences of polynomials [limbs, degree]."""
    for limb in range(out.shape[0]):
        prime = np.uint32(table[limb, PRIME])
        if adding:
            _add_into(left[limb], right[limb], prime, out[limb])
        else:
            _subtract_into(left[limb], right[limb], prime, out[limb])


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
