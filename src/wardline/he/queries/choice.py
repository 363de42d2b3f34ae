"""The smallest parameters that bear the queries of a table."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from functools import lru_cache
from itertools import count
from typing import get_args

from wardline.core.errors import DataError
from wardline.he.parameters import LARGEST_PRIME, MOST_BITS, Parameters, find_primes, is_prime
from wardline.he.queries.noise import depth_of
from wardline.he.queries.plan import MOST_FILTERS, MOST_ROWS, Reader, TablePlan, digit_bits_for
from wardline.he.queries.schema import Schema

_MUCH_LESS = 0.7
_DEGREES = (2048, 4096, 8192, 16384, 32768)
_SPECIAL_BITS = 31
_LIMB_BITS = range(20, 31)
_PLAIN_BITS = range(14, 31)


def plan_table(schema: Schema, rows: int, *, filters: int = 2, reader: Reader = "owner") -> TablePlan:
    """The parameters with which a table takes the fewest bytes.

    Args:
        schema: its columns.
        rows: how many, at least 1.
        filters: the most columns that a filter may name beside a value, from 0. A count without a value bears
            2^depth filtered columns, where depth is 1 + log2(filters), rounded up.
        reader: ``owner``, or ``others`` where the key is held by someone who is to learn totals alone.

    Raises:
        DataError: for no rows, or if no parameters of 128 bits of security bear such queries.
        ValueError: for other arguments out of range.
    """
    if rows < 1:
        raise DataError("the table has no rows", hint="give a table with at least one row")
    if rows > MOST_ROWS or not 0 <= filters <= MOST_FILTERS or reader not in get_args(Reader):
        raise ValueError(f"a table has up to {MOST_ROWS} rows, a filter up to {MOST_FILTERS} columns")
    found: list[TablePlan] = []
    for degree in _DEGREES:
        of_ring = list(_candidates(schema, rows, degree, filters, reader))
        if of_ring:
            found.append(min(of_ring, key=lambda plan: plan.table_bytes))
        if len(found) == 2:
            break
    if found:
        # The smallest ring, unless it is so tight that values are cut to pieces.
        return found[-1] if found[-1].table_bytes < _MUCH_LESS * found[0].table_bytes else found[0]
    raise DataError(
        f"no parameters of 128-bit security bear filters of {filters} columns on this table",
        hint="ask for fewer columns in a filter, or for a coarser unit of large numbers",
    )


def _candidates(schema: Schema, rows: int, degree: int, filters: int, reader: Reader) -> Iterator[TablePlan]:
    """For each size of the plain modulus the plan with the fewest bits of moduli."""
    depth = depth_of(filters)
    special = find_primes(degree, (_SPECIAL_BITS,))[0] if depth else None
    summed = -(-rows // degree) if reader == "owner" else rows
    chains = _chains(degree, MOST_BITS[degree] - (_SPECIAL_BITS if depth else 0))
    for bits in _PLAIN_BITS:
        plain = _plain_modulus(degree, bits, least=depth > 0)
        digit_bits = 0 if plain is None else digit_bits_for(plain, summed)
        if digit_bits < 1:
            continue

        def with_chain(
            moduli: tuple[int, ...], plain: int | None = plain, digit_bits: int = digit_bits
        ) -> TablePlan | None:
            if special in moduli or plain in moduli:
                return None
            try:
                parameters = Parameters(
                    scheme="bfv", degree=degree, moduli=moduli, special=special, plain_modulus=plain
                )
                return TablePlan(
                    schema=schema,
                    rows=rows,
                    parameters=parameters,
                    filters=filters,
                    digit_bits=digit_bits,
                    reader=reader,
                )
            except ValueError:  # too much noise
                return None

        first = bisect_left(chains, True, key=lambda moduli: with_chain(moduli) is not None)
        if first < len(chains) and (found := with_chain(chains[first])) is not None:
            yield found


@lru_cache(maxsize=16)
def _chains(degree: int, most_bits: int) -> tuple[tuple[int, ...], ...]:
    """Chains of moduli, from short to long, as few limbs as possible for their bits."""
    found = []
    for bits in range(max(_LIMB_BITS.start, degree.bit_length() + 6), most_bits + 1):
        limbs = -(-bits // (_LIMB_BITS.stop - 1))
        each, longer = divmod(bits, limbs)
        try:
            found.append(find_primes(degree, (each + 1,) * longer + (each,) * (limbs - longer)))
        except ValueError:  # too few primes of this size
            continue
    return tuple(found)


@lru_cache(maxsize=256)
def _plain_modulus(degree: int, bits: int, *, least: bool) -> int | None:
    """The largest prime of so many bits that gives slots, or None.

    Where no keys are switched, it may not be the least that there is: SEAL keeps that one for itself.
    """
    step = 2 * degree
    kept = 0 if least else next(one for one in count(step + 1, step) if is_prime(one))
    candidate = ((1 << bits) - 2) // step * step + 1
    while candidate > 1 << (bits - 1):
        if kept < candidate < LARGEST_PRIME and is_prime(candidate):
            return candidate
        candidate -= step
    return None
