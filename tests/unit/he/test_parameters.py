"""Parameters keep 128 bits of security, and have one digest each."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wardline.core import IntegrityError
from wardline.he.parameters import MOST_BITS, Parameters, find_primes, is_prime

PRIMES = find_primes(4096, (25, 25, 25))
GOOD: dict[str, Any] = {"scheme": "bfv", "degree": 4096, "moduli": PRIMES, "plain_modulus": 1 << 45}


def test_parameters_tell_what_follows_from_them() -> None:
    found = Parameters(**GOOD)
    assert (found.bits, found.slots, found.primes) == (75, 4096, PRIMES)
    special = find_primes(8192, (26, 26, 31))
    ckks = Parameters(scheme="ckks", degree=8192, moduli=special[:2], special=special[2])
    assert (ckks.bits, ckks.slots, ckks.primes) == (83, 4096, special)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"scheme": "bgv"}, "scheme"),
        ({"degree": 4095}, "degree"),
        ({"degree": 65536}, "degree"),
        ({"moduli": ()}, "distinct"),
        ({"moduli": (PRIMES[0], PRIMES[0])}, "distinct"),
        ({"special": PRIMES[0]}, "distinct"),
        ({"moduli": (PRIMES[0] + 8192,)}, "no prime"),
        ({"moduli": (33538051,)}, "no prime"),
        ({"moduli": (2, *PRIMES)}, "no prime"),
        ({"moduli": (-PRIMES[0],)}, "no prime"),
        ({"plain_modulus": None}, "plain modulus"),
        ({"scheme": "ckks"}, "plain modulus"),
        ({"plain_modulus": 1}, "plain modulus"),
        ({"plain_modulus": 1 << 60}, "plain modulus"),
        ({"moduli": PRIMES[:1], "plain_modulus": PRIMES[0]}, "plain modulus"),
        ({"moduli": find_primes(4096, (28, 28, 27, 27))}, "128 bits"),
        ({"degree": 2048}, "128 bits"),
    ],
    ids=str,
)
def test_other_parameters_are_refused(change: dict[str, Any], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        Parameters(**{**GOOD, **change})


@pytest.mark.parametrize("degree", sorted(MOST_BITS))
def test_the_table_is_kept_to_the_bit(degree: int) -> None:
    """As many primes as fit are taken, and one more bit is refused."""
    most = MOST_BITS[degree]
    count = math.ceil(most / 31)
    bits = tuple(most // count + (i < most % count) for i in range(count))
    # The largest primes of b bits have a product of b bits less a little: of exactly the sum of their bits.
    whole = find_primes(degree, bits)
    assert math.prod(whole).bit_length() == most
    Parameters(scheme="ckks", degree=degree, moduli=whole)
    with pytest.raises(ValueError, match="128 bits"):
        Parameters(scheme="ckks", degree=degree, moduli=find_primes(degree, (*bits[:-1], bits[-1] + 1)))


def test_a_digest_stands_for_all_of_it() -> None:
    seen = {Parameters(**GOOD).digest}
    for change in (
        {"moduli": PRIMES[::-1]},
        {"moduli": PRIMES[:2], "special": PRIMES[2]},
        {"plain_modulus": 1 << 44},
        {"scheme": "ckks", "plain_modulus": None},
    ):
        seen.add(Parameters(**{**GOOD, **change}).digest)
    assert len(seen) == 5


def test_json_comes_back() -> None:
    for change in ({}, {"moduli": PRIMES[:2], "special": PRIMES[2]}):
        found = Parameters(**{**GOOD, **change})
        assert Parameters.from_json(found.to_json()) == found


@pytest.mark.parametrize(
    "change",
    [
        {"scheme": ["bfv"]},
        {"scheme": None},
        {"degree": 4096.0},
        {"degree": True},
        {"degree": "4096"},
        {"moduli": "abc"},
        {"moduli": [1.5]},
        {"moduli": [[]]},
        {"moduli": [None]},
        {"moduli": list(range(100))},
        {"special": 0},
        {"special": False},
        {"special": ""},
        {"special": []},
        {"plain_modulus": 0},
        {"plain_modulus": 2.0},
        {"plain_modulus": False},
        {"more": 1},
    ],
    ids=str,
)
def test_json_that_was_not_written_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(IntegrityError):
        Parameters.from_json({**Parameters(**GOOD).to_json(), **change})


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=5,
    )
    | st.fixed_dictionaries(
        dict.fromkeys(
            ("scheme", "degree", "moduli", "special", "plain_modulus"),
            st.none() | st.integers() | st.just("bfv") | st.lists(st.integers()),
        )
    )
)
@settings(max_examples=200, derandomize=True, deadline=None)
def test_json_from_elsewhere_raises_one_error(found: object) -> None:
    with pytest.raises(IntegrityError):
        Parameters.from_json(found)


def test_primes_are_the_largest_that_suit() -> None:
    for degree, bits in ((1024, (14,)), (4096, (25, 25, 31)), (8192, (31, 26, 26))):
        found = find_primes(degree, bits)
        assert len(set(found)) == len(bits)
        for prime, size in zip(found, bits, strict=True):
            assert prime.bit_length() == size
            assert prime % (2 * degree) == 1
            larger = range(prime + 2 * degree, 1 << size, 2 * degree)
            assert not any(is_prime(one) and one not in found for one in larger)
    for bits in ((12,), (13, 13), (32,), (33,)):
        with pytest.raises(ValueError, match="too few"):
            find_primes(4096, bits)


def test_primality_is_decided_as_by_division() -> None:
    sieve = [all(n % d for d in range(2, math.isqrt(n) + 1)) for n in range(2, 3000)]
    assert [is_prime(n) for n in range(2, 3000)] == sieve
    assert not is_prime(0)
    assert not is_prime(1)
    # Strong pseudoprimes to the bases 2; 2, 3; and 2, 3, 5 (Jaeschke 1993), and the largest prime below 2^31.
    assert not any(is_prime(n) for n in (2047, 1373653, 25326001))
    assert is_prime(2**31 - 1)
