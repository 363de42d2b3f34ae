"""How a table is encrypted: which ciphertexts there are, and how much noise its queries leave in them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, TypeAlias, get_args

from wardline.core.errors import DataError, IntegrityError
from wardline.he.kernels.product import second_base
from wardline.he.kernels.sampling import MOST_FLOODING_BITS
from wardline.he.kernels.slots import has_slots
from wardline.he.parameters import MOST_BITS, Parameters
from wardline.he.queries.noise import FLOOD_BITS, depth_of, noise_bits, switched_bits, zero_bits
from wardline.he.queries.schema import Column, NumberColumn, Schema

Reader: TypeAlias = Literal["owner", "others"]
"""Who may hold the key and read answers: the table's owner, or someone who is to learn totals alone."""

Part: TypeAlias = Literal["level", "known", "edge", "digit"]

MOST_ROWS = 1 << 27
MOST_FILTERS = 64

_SPARE_BITS = 2  # of the noise's room, left over whatever was computed


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """One number of every row, in slots: one ciphertext for each block of rows.

    Attributes:
        column: which column of the schema it belongs to.
        part: ``level``: 1 for rows in this category; ``edge``: 1 for rows whose value is at this edge or above;
            ``known``: 1 for rows with a value; ``digit``: a digit of the value, with its sign.
        place: which category, edge or digit, from 0; digits from the lowest.
    """

    column: int
    part: Part
    place: int


@dataclass(frozen=True, kw_only=True)
class TablePlan:
    """What everybody knows of an encrypted table: how its queries are computed.

    Attributes:
        schema: its columns.
        rows: how many, from 1.
        parameters: of the encryption.
        filters: the most columns that a filter may name beside a value that is summed or counted by.
        digit_bits: values are cut into digits of so many bits, so that no sum of them wraps around the plain modulus.
        reader: who reads answers.

    Raises:
        ValueError: for parts that do not fit together, or parameters that do not bear the queries.
    """

    schema: Schema
    rows: int
    parameters: Parameters
    filters: int
    digit_bits: int
    reader: Reader = "owner"

    def __post_init__(self) -> None:
        plain, degree = self.parameters.plain_modulus, self.parameters.degree
        if not 1 <= self.rows <= MOST_ROWS or not 0 <= self.filters <= MOST_FILTERS:
            raise ValueError(f"a table has 1 to {MOST_ROWS} rows, and a filter up to {MOST_FILTERS} columns")
        if self.reader not in get_args(Reader):
            raise ValueError("answers are read by the owner or by others")
        if plain is None or not has_slots(plain, degree):
            raise ValueError("the plain modulus gives no slots")
        if (self.parameters.special is None) is not (self.depth == 0):
            raise ValueError("a special prime is needed where products are, and nowhere else")
        if not 1 <= self.digit_bits <= digit_bits_for(plain, self._summed_rows):
            raise ValueError("sums of the values' digits could wrap around the plain modulus")
        if self.reply_limbs is None:
            raise ValueError("the parameters do not bear the noise of the deepest query")

    @property
    def depth(self) -> int:
        """How many products may follow each other."""
        return depth_of(self.filters)

    @property
    def blocks(self) -> int:
        """How many ciphertexts hold one number of every row."""
        return -(-self.rows // self.parameters.degree)

    @property
    def _summed_rows(self) -> int:
        """How many rows are added up in what a reader decrypts: those of one slot, or all."""
        return self.blocks if self.reader == "owner" else self.rows

    @cached_property
    def stored(self) -> tuple[Stored, ...]:
        """All ciphertexts of a block, in the order of their files."""
        return tuple(
            one for place, column in enumerate(self.schema.columns) for one in _stored(place, column, self.digit_bits)
        )

    @cached_property
    def place(self) -> dict[Stored, int]:
        """Where each stands in `stored`."""
        return {one: place for place, one in enumerate(self.stored)}

    def digits(self, column: NumberColumn) -> int:
        """Into how many digits the values of a column are cut."""
        return _digits(column, self.digit_bits)

    @property
    def terms(self) -> int:
        """The most ciphertexts that are added up to one factor of a product."""
        return max(column.size for column in self.schema.columns)

    @property
    def noise_bits(self) -> float:
        """Bits of the largest noise of the deepest query, before it is hidden."""
        return self.noise_at(self.depth)

    def noise_at(self, depth: int) -> float:
        """Bits of the largest noise of a query of this depth, before it is hidden."""
        return noise_bits(self.parameters, depth=depth, terms=self.terms, blocks=self.blocks)

    @property
    def noise_bits_left(self) -> float:
        """Bits between the noise of the deepest query, flooded where it is, and what decrypts."""
        own = _sum_bits(self.noise_bits, zero_bits(self.parameters))
        return _room(self.parameters.moduli, self.parameters) - own - (FLOOD_BITS + 1 if self.reader == "others" else 0)

    @property
    def flood_limbs(self) -> int | None:
        """How many moduli are left when noise is added to hide what is there, or None where none is added.

        The fewest that leave room for the noise itself: the less noise there is, the less has to be added.
        """
        return self._levels[0] if self.reader == "others" and self._levels else None

    @property
    def flood_bits(self) -> int | None:
        """Noise that is added is uniform in [-2^flood_bits, 2^flood_bits), or None where none is."""
        return None if self.flood_limbs is None else self._flood_bits(self.flood_limbs)

    @property
    def reply_limbs(self) -> int | None:
        """How many moduli an answer leaves with; None if not even all of them bear its noise."""
        return self._levels[1] if self._levels else None

    @cached_property
    def _levels(self) -> tuple[int, int] | None:
        """The number of moduli at which noise is added, and the one that an answer leaves with."""
        every = len(self.parameters.moduli)
        if self.reader == "owner":
            reply = next((left for left in range(1, every + 1) if self._bears(left, self._own_bits(left))), None)
            return None if reply is None else (every, reply)
        flooded = next(
            (
                left
                for left in range(1, every + 1)
                if self._flood_bits(left) <= MOST_FLOODING_BITS and self._bears(left, self._flood_bits(left) + 0.1)
            ),
            None,
        )
        if flooded is None:
            return None
        before = self._flood_bits(flooded) + 0.1  # and what it hides
        reply = next(left for left in range(1, flooded + 1) if self._bears(left, self._after(before, flooded, left)))
        return flooded, reply

    def _own_bits(self, limbs: int) -> float:
        """Bits of the noise of an answer with so many moduli left."""
        own = _sum_bits(self.noise_bits, zero_bits(self.parameters))
        return self._after(own, len(self.parameters.moduli), limbs)

    def _after(self, noise: float, before: int, limbs: int) -> float:
        """Bits of a noise after a change from `before` to `limbs` moduli."""
        if limbs == before:
            return noise
        # One rounding for each modulus that goes; those of all but the last one shrink by the later ones.
        return _sum_bits(noise - _bits(self.parameters.moduli[limbs:before]), switched_bits(self.parameters) + 0.01)

    def _flood_bits(self, limbs: int) -> int:
        return FLOOD_BITS + math.ceil(self._own_bits(limbs))

    def _bears(self, limbs: int, noise: float) -> bool:
        spare = _SPARE_BITS if limbs == len(self.parameters.moduli) else _SPARE_BITS / 2
        return noise + spare <= _room(self.parameters.moduli[:limbs], self.parameters)

    @property
    def bytes_per_block(self) -> int:
        """Of the file of one number of every row: a hash, a seed and the packed residues for each block."""
        packed = sum((prime.bit_length() * self.parameters.degree + 7) // 8 for prime in self.parameters.moduli)
        return 32 + 64 + packed

    @property
    def table_bytes(self) -> int:
        """Of all ciphertexts together."""
        return len(self.stored) * self.blocks * self.bytes_per_block

    @property
    def reply_bytes(self) -> int:
        """Of one ciphertext of an answer."""
        assert self.reply_limbs is not None
        left = self.parameters.moduli[: self.reply_limbs]
        return 2 * sum((prime.bit_length() * self.parameters.degree + 7) // 8 for prime in left)

    def memory_bytes(self, outputs: int, threads: int = 1) -> int:
        """What answering takes at most beside the interpreter, for so many ciphertexts in the answer.

        Each thread has three polynomials in both bases for each of them, or two in one, the ciphertexts of one block
        (all of them at most, twice while they are made), and forty polynomials in both bases to work in.
        """
        limbs, degree = len(self.parameters.moduli), self.parameters.degree
        both = limbs + len(second_base(self.parameters, self.blocks)) if self.depth else limbs
        keys = 4 * limbs * 2 * (limbs + 1) * degree
        each = 4 * degree * ((3 * both + 2 * limbs) * outputs + 4 * limbs * len(self.stored) + 40 * both)
        return keys + (threads + 1) * each

    def explain(self) -> str:
        """The plan in words and figures."""
        parameters, rows = self.parameters, self.rows
        assert parameters.plain_modulus is not None
        most = 2**self.depth
        lines = [
            f"{rows} rows in {self.blocks} blocks of {parameters.degree}, {len(self.schema.columns)} columns, "
            f"{len(self.stored)} ciphertexts a block",
            f"BFV in slots: ring {parameters.degree}, {parameters.bits} of {MOST_BITS[parameters.degree]} bits that "
            f"128-bit security allows, plain modulus {parameters.plain_modulus}, values in digits of "
            f"{self.digit_bits} bits",
            f"filters of up to {self.filters} columns beside a value"
            + (f", or {most} in a count" if self.filters else "; counts filtered by one column"),
            f"products in a row: {self.depth}; noise of the deepest query below 2^{self.noise_bits:.1f}, "
            f"{self.noise_bits_left:.1f} bits left",
            f"the table takes {self.table_bytes} bytes ({self.table_bytes / rows:.0f} a row), an answer "
            f"{self.reply_bytes} for each number in it",
        ]
        if self.reader == "others":
            lines.append(
                f"answers tell totals alone: slots are masked, and noise of 2^{self.flood_bits} is added where "
                f"{self.flood_limbs} moduli are left"
            )
        else:
            lines.append("answers are for the table's owner: their slots hold sums over rows of equal place")
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        """The plan as JSON values."""
        return {
            "schema": self.schema.to_json(),
            "rows": self.rows,
            "parameters": self.parameters.to_json(),
            "filters": self.filters,
            "digit_bits": self.digit_bits,
            "reader": self.reader,
        }

    @classmethod
    def from_json(cls, value: Any) -> TablePlan:
        """Read what `to_json` gave.

        Raises:
            IntegrityError: for anything else.
        """
        names = {"schema", "rows", "parameters", "filters", "digit_bits", "reader"}
        if not isinstance(value, dict) or set(value) != names:
            raise IntegrityError("this is no plan of an encrypted table")
        if any(type(value[name]) is not int for name in ("rows", "filters", "digit_bits")):
            raise IntegrityError("this is no plan of an encrypted table")
        parameters = Parameters.from_json(value["parameters"])
        try:
            plan = cls(
                schema=Schema.from_json(value["schema"]),
                rows=value["rows"],
                parameters=parameters,
                filters=value["filters"],
                digit_bits=value["digit_bits"],
                reader=value["reader"],
            )
        except (ValueError, TypeError, DataError, AssertionError) as error:
            raise IntegrityError(f"the plan of the encrypted table is refused: {error}") from error
        if plan.to_json() != value:
            raise IntegrityError("the plan of the encrypted table has another spelling than it would be written with")
        return plan


def digit_bits_for(plain: int, summed: int) -> int:
    """The most bits of digits of which so many add up to at most a quarter of the plain modulus, to both sides of 0.

    So decryptions that went wrong, which fill all of it, are told from sums. It is 0 where not even counts fit.
    """
    most = (plain // 4) // summed
    return (most + 1).bit_length() - 1


def _digits(column: NumberColumn, digit_bits: int) -> int:
    largest = max(abs(column.low), abs(column.high), 1)
    return -(-largest.bit_length() // digit_bits)


def _stored(place: int, column: Column, digit_bits: int) -> Iterator[Stored]:
    if not isinstance(column, NumberColumn):
        # Of the last level every row is that is in no other one.
        for level in range(column.size - 1):
            yield Stored(column=place, part="level", place=level)
        return
    if column.missing:
        yield Stored(column=place, part="known", place=0)
    for edge in range(len(column.edges)):
        yield Stored(column=place, part="edge", place=edge)
    if column.sums:
        for digit in range(_digits(column, digit_bits)):
            yield Stored(column=place, part="digit", place=digit)


def _bits(moduli: tuple[int, ...]) -> float:
    return math.log2(math.prod(moduli))


def _sum_bits(one: float, other: float) -> float:
    """Bits of the sum of two numbers of so many bits."""
    return max(one, other) + math.log2(1 + 2.0 ** -abs(one - other))


def _room(moduli: tuple[int, ...], parameters: Parameters) -> float:
    """Bits of the largest noise that decrypts."""
    assert parameters.plain_modulus is not None
    return _bits(moduli) - math.log2(2 * parameters.plain_modulus)
