"""How a database is laid out for private lookup: parameters, grid, noise and bytes, all of it public."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from wardline.core.errors import IntegrityError, UsageError
from wardline.he.kernels.sampling import ERROR_BOUND, MOST_FLOODING_BITS
from wardline.he.parameters import Parameters, find_primes

DEGREE, LIMBS = 8192, 5
SECURITY_BITS = 40
"""Of statistical distance between a reply's noise and noise that depends on no record."""

LEFT_OUT = 4
"""Low bits of a question's coefficients that are not sent: noise of at most 8, beside 189 of a key switching."""

MOST_RECORDS = 1 << 32
_TAIL = 8.0  # standard deviations: beyond with probability below 2^-48 a coefficient
_ERROR_VARIANCE = 10.5
_FEWEST_DOUBLINGS, _MOST_DOUBLINGS = 5, 11


@dataclass(frozen=True, slots=True, kw_only=True)
class LookupPlan:
    """A database's layout and what a lookup in it takes.

    A question is expanded into up to 2^doublings encrypted numbers, and the number of a row may be any power of
    X^(2^doublings): a polynomial is cut into units of so many coefficients, and the row's number names the unit too. A
    record lies in one unit, as one of `groups`, or in several. The polynomials form a grid of `rows` times `columns`; a
    question names row and unit by one number that is not 0, and column and group by their bits.

    Attributes:
        parameters: BFV with a power of two as its plain modulus t, a special prime, and two limbs or more.
        records: how many there are.
        record_bytes: of each.
        rows: of the grid.
        doublings: a question is expanded into up to 2^doublings encrypted numbers.

    Raises:
        ValueError: for values out of range, a grid that a question cannot name, or noise that does not fit.
    """

    parameters: Parameters
    records: int
    record_bytes: int
    rows: int
    doublings: int

    def __post_init__(self) -> None:
        parameters = self.parameters
        plain = parameters.plain_modulus
        if parameters.scheme != "bfv" or parameters.special is None or len(parameters.moduli) < 2:
            raise ValueError("a lookup takes bfv with two moduli or more and a special prime")
        if plain is None or plain & (plain - 1) or not 8 <= self.plain_bits <= 56:
            raise ValueError("the plain modulus of a lookup is a power of two from 2^8 to 2^56")
        if not 1 <= self.records <= MOST_RECORDS or self.record_bytes < 1:
            raise ValueError(f"a database has 1 to 2^32 records of at least one byte, not {self.records}")
        if not 1 <= self.doublings < parameters.degree.bit_length() - 1:
            raise ValueError("a question is doubled once or more, and less than the ring allows")
        if self.coefficients > parameters.degree:
            raise ValueError(f"a record has at most {parameters.degree * self.plain_bits // 8} bytes here")
        if not 1 <= self.rows <= self.polynomials:
            raise ValueError("the grid has at least one row and no empty one")
        if self.numbers > 1 << self.doublings:
            raise ValueError(f"{self.numbers} numbers of a question do not fit 2^{self.doublings}")
        if self._fitting_level() is None:
            raise ValueError("the noise of a lookup with these parameters does not fit beside the record")

    @property
    def plain_bits(self) -> int:
        """Bits of a record in one coefficient."""
        assert self.parameters.plain_modulus is not None
        return self.parameters.plain_modulus.bit_length() - 1

    @property
    def coefficients(self) -> int:
        """Coefficients that a record takes."""
        return -(-8 * self.record_bytes // self.plain_bits)

    @property
    def unit(self) -> int:
        """Coefficients by whose multiples a row's number moves a polynomial."""
        return 1 << self.doublings

    @property
    def groups(self) -> int:
        """Records in one unit; 1 where a record takes several."""
        return max(self.unit // self.coefficients, 1)

    @property
    def span(self) -> int:
        """Units that a record takes; 1 where several share one."""
        return -(-self.coefficients // self.unit)

    @property
    def places(self) -> int:
        """Records in one polynomial."""
        return self.parameters.degree // self.unit // self.span * self.groups

    def start(self, place: int) -> tuple[int, int]:
        """Where the record of a place begins: the first coefficient of its unit, and how many come before it there."""
        unit, group = divmod(place, self.groups)
        return unit * self.span * self.unit, group * self.coefficients

    @property
    def polynomials(self) -> int:
        """Polynomials that hold all records."""
        return -(-self.records // self.places)

    @property
    def columns(self) -> int:
        """Of the grid."""
        return -(-self.polynomials // self.rows)

    @property
    def column_bits(self) -> int:
        """Encrypted bits that name the column."""
        return (self.columns - 1).bit_length()

    @property
    def group_bits(self) -> int:
        """Encrypted bits that name the group in a unit."""
        return (min(self.groups, self.records) - 1).bit_length()

    @property
    def bits(self) -> int:
        """Encrypted bits of a question: of the column, then of the group, low ones first."""
        return self.column_bits + self.group_bits

    @property
    def numbers(self) -> int:
        """Encrypted numbers of a question: one for each row, and one for each bit and limb."""
        return self.rows + self.bits * len(self.parameters.moduli)

    @property
    def elements(self) -> tuple[int, ...]:
        """Galois elements whose keys the expansion needs."""
        degree = self.parameters.degree
        return tuple(sorted(degree // (1 << level) + 1 for level in range(self.doublings)))

    @property
    def flood_limbs(self) -> int:
        """Limbs that are left when the reply is made fresh and flooded."""
        level = self._fitting_level()
        assert level is not None
        return level[0]

    @property
    def flood_bits(self) -> int:
        """A reply's noise is uniform between -2^flood_bits and 2^flood_bits when it is made."""
        level = self._fitting_level()
        assert level is not None
        return level[1]

    @property
    def reply_limbs(self) -> int:
        """Limbs of a reply."""
        level = self._fitting_level()
        assert level is not None
        return level[2]

    @property
    def database_bytes(self) -> int:
        """Of the server's file, without its head: 4 for each coefficient and limb."""
        return 4 * self.rows * self.columns * len(self.parameters.moduli) * self.parameters.degree

    @property
    def question_bytes(self) -> int:
        """Of a question's residues and seed."""
        widths = [(one - 1).bit_length() for one in self.parameters.moduli]
        return 64 + self.parameters.degree * (sum(widths) - LEFT_OUT) // 8

    @property
    def reply_bytes(self) -> int:
        """Of a reply's residues."""
        widths = [(one - 1).bit_length() for one in self.parameters.moduli[: self.reply_limbs]]
        return 2 * self.parameters.degree * sum(widths) // 8

    @property
    def key_bytes(self) -> int:
        """Of a client's keys, which are sent once."""
        primes = [(one - 1).bit_length() for one in self.parameters.primes]
        limbs, degree = len(self.parameters.moduli), self.parameters.degree
        one_key = limbs * (64 + degree * sum(primes) // 8)
        return (self.doublings + 1) * one_key + 2 * degree * sum(primes[:-1]) // 8

    @property
    def switchings(self) -> int:
        """Key switchings of a lookup, each external product counted as one."""
        expansion = sum(min(1 << level, self.numbers) for level in range(self.doublings))
        return expansion + self.bits * len(self.parameters.moduli) + self.columns - 1 + self.group_bits

    def memory_bytes(self, threads: int = 1) -> int:
        """What answering takes beside the database and a client's keys, at most."""
        limbs, degree = len(self.parameters.moduli), self.parameters.degree
        ciphertext = 8 * limbs * degree
        numbers = self.numbers + 2 * self.rows + 2 * limbs * self.bits
        return ciphertext * (numbers + 4 * self.columns + 3 * limbs * threads)

    def noise(self) -> float:
        """Standard deviation of the noise of a found record, before it is flooded.

        For any records: each coefficient counts as large as it can be. Errors that a client's encryption and keys
        bring are taken as independent, which decryptions in the tests bear out.
        """
        parameters, degree = self.parameters, self.parameters.degree
        limbs, largest = len(parameters.moduli), max(parameters.moduli)
        assert parameters.special is not None
        rounding = _rounding_variance(degree)
        switching = (largest / parameters.special) ** 2 * degree * limbs * _ERROR_VARIANCE / 12 + rounding
        fresh = _ERROR_VARIANCE + 4.0**LEFT_OUT / 12
        expanded = 2.0**self.doublings * (fresh + switching)
        half = 2.0 ** (self.plain_bits - 1)
        selected = self.rows * degree * (expanded + 1) * half**2
        times_secret = expanded * 2 * degree / 3 + switching
        product = limbs * degree * largest**2 / 12 * (expanded + times_secret)
        return math.sqrt(selected + self.bits * product)

    def _fitting_level(self) -> tuple[int, int, int] | None:
        """Limbs and bits of the flooding, and limbs of the reply; None where nothing fits."""
        moduli, degree = self.parameters.moduli, self.parameters.degree
        variance = self.noise() ** 2
        found = None
        for limbs in range(len(moduli), 0, -1):
            if limbs < len(moduli):
                variance = variance / moduli[limbs] ** 2 + _rounding_variance(degree)
            flood = math.ceil(math.log2(_TAIL * math.sqrt(variance))) + SECURITY_BITS
            masks = ERROR_BOUND * (2 * degree + 1)
            room = math.prod(moduli[:limbs]) / 2 ** (self.plain_bits + 1)
            if flood <= MOST_FLOODING_BITS and 2.0**flood + _TAIL * math.sqrt(variance) + masks < room:
                found = limbs, flood
                break
        if found is None:
            return None
        limbs, flood = found
        for left in range(1, limbs + 1):
            kept = math.prod(moduli[:left])
            scaled = 2.0**flood * 1.01 * kept / math.prod(moduli[:limbs])
            if scaled + 2 * _TAIL * math.sqrt(_rounding_variance(degree)) < 0.9 * kept / 2 ** (self.plain_bits + 1):
                return limbs, flood, left
        return limbs, flood, limbs

    def explain(self) -> str:
        """What a lookup takes, for people."""
        records, size = self.records, self.records * self.record_bytes
        noise = f"2^{math.log2(self.noise()):.1f}, flooded by 2^{self.flood_bits} with {self.flood_limbs} limbs left"
        return "\n".join(
            (
                f"records:  {records:,} of {self.record_bytes:,} bytes, {size / 2**20:.1f} MiB",
                f"ring:     degree {self.parameters.degree}, {self.parameters.bits} bits of moduli, "
                f"{self.plain_bits} bits of a record in a coefficient",
                f"layout:   {self.places:,} records in a polynomial, {self.rows} x {self.columns} polynomials, "
                f"{self.database_bytes / size:.2f} bytes in the server's file for each of the records'",
                f"question: {self.question_bytes:,} bytes; keys, once: {self.key_bytes:,} bytes",
                f"reply:    {self.reply_bytes:,} bytes",
                f"work:     {self.switchings} key switchings, and {self.database_bytes / 2**20:.1f} MiB are read",
                f"noise:    {noise}",
            )
        )

    def to_json(self) -> dict[str, Any]:
        """The plan as JSON values."""
        return {
            "parameters": self.parameters.to_json(),
            "records": self.records,
            "record_bytes": self.record_bytes,
            "rows": self.rows,
            "doublings": self.doublings,
        }

    @classmethod
    def from_json(cls, found: Any) -> LookupPlan:
        """Read `to_json` back.

        Raises:
            IntegrityError: for anything that it would not have written.
        """
        numbers = ("records", "record_bytes", "rows", "doublings")
        if not isinstance(found, dict) or set(found) != {"parameters", *numbers}:
            raise IntegrityError("this is no plan of a lookup")
        if any(type(found[name]) is not int or not 0 < found[name] <= MOST_RECORDS for name in numbers):
            raise IntegrityError("the numbers of a lookup's plan must be whole ones above 0")
        try:
            return cls(parameters=Parameters.from_json(found["parameters"]), **{name: found[name] for name in numbers})
        except ValueError as error:
            raise IntegrityError(f"this plan of a lookup is refused: {error}") from error


def plan_lookup(records: int, record_bytes: int, *, limbs: int = LIMBS) -> LookupPlan:
    """The layout that is answered in the least time, by counting key switchings and bytes read.

    Args:
        records: from 1 to 2^32.
        record_bytes: of each; at most what one polynomial holds, some 44 KiB.
        limbs: of 31 bits each, from 4 to 6: more make keys and questions larger, and the server's file smaller.

    Raises:
        UsageError: for records that are too large or too many.
        ValueError: for another number of limbs.
    """
    if not 4 <= limbs <= 6:
        raise ValueError("a lookup takes 4 to 6 limbs")
    if not 1 <= records <= MOST_RECORDS or record_bytes < 1:
        raise UsageError(f"{records} records of {record_bytes} bytes are no database", hint="give 1 to 2^32 records")
    primes = find_primes(DEGREE, (31,) * (limbs + 1))
    best: LookupPlan | None = None
    for doublings in range(_FEWEST_DOUBLINGS, _MOST_DOUBLINGS + 1):
        for plain_bits in range(56, 7, -1):
            parameters = Parameters(
                scheme="bfv", degree=DEGREE, moduli=primes[1:], special=primes[0], plain_modulus=1 << plain_bits
            )
            found = _widest_grid(parameters, records, record_bytes, doublings)
            if found is not None:
                best = found if best is None or _cost(found) < _cost(best) else best
                break
    if best is None:
        raise UsageError(
            f"{records} records of {record_bytes} bytes are too many or too large for a private lookup",
            hint="split records into several databases, or look up shorter ones",
        )
    return best


def _widest_grid(parameters: Parameters, records: int, record_bytes: int, doublings: int) -> LookupPlan | None:
    """The plan with as many rows as a question of so many doublings can name; None where there is none."""
    limbs, unit = len(parameters.moduli), 1 << doublings
    assert parameters.plain_modulus is not None
    coefficients = -(-8 * record_bytes // (parameters.plain_modulus.bit_length() - 1))
    if coefficients > parameters.degree:
        return None
    groups = max(unit // coefficients, 1)
    polynomials = -(-records // (parameters.degree // unit // -(-coefficients // unit) * groups))
    group_bits = (min(groups, records) - 1).bit_length()
    for column_bits in range(MOST_RECORDS.bit_length()):
        room = unit - limbs * (column_bits + group_bits)
        if room < 1:
            return None
        columns = -(-polynomials // room)
        if (columns - 1).bit_length() <= column_bits:
            try:
                return LookupPlan(
                    parameters=parameters,
                    records=records,
                    record_bytes=record_bytes,
                    # As few rows as that many columns need: what is left over of the grid would be read for nothing.
                    rows=-(-polynomials // columns),
                    doublings=doublings,
                )
            except ValueError:
                return None
    return None


def _cost(plan: LookupPlan) -> float:
    """Rising with the time of an answer: a key switching takes as long as reading some MiB."""
    limbs = len(plan.parameters.moduli)
    return plan.switchings * limbs * (limbs + 1) / 30 + plan.database_bytes / SWITCHING_BYTES


SWITCHING_BYTES = 8e6
"""Bytes of the database that are read in the time of one key switching (benchmarks/he_lookup.py)."""


def _rounding_variance(degree: int) -> float:
    """Of the noise that a division by a modulus adds: two roundings, one of them times the ternary secret."""
    return (1 + 2 * degree / 3) / 12
