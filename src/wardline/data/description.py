"""Proposing a contract for a table. A person must review it: it is made from the data and will be public."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import TYPE_CHECKING, Any

import numpy as np

from wardline.core import DataError
from wardline.data._convert import canonical, count_infinite, extremes
from wardline.data._extras import module
from wardline.data._text import is_text
from wardline.data.contract import Column, Contract, category_text

if TYPE_CHECKING:
    import pyarrow as pa

MOST_CATEGORIES = 100
"""Text with more distinct values is not proposed as a category."""
MOST_CLASSES = 50
RARE_ROWS = 10
_MOST_ROWS_OF_A_PERSON = 8
_FEWEST_PERSONS = 20
_FEW_WHOLE_NUMBERS = 12
_LOG_RATIO = 50
_LARGEST_WHOLE = 2**52  # rounded outwards, the range still ends below 2**53, up to where floats are exact
_LARGEST = 1e300

_PERSON = re.compile(
    r"(patient|person|people|subject|participant|member|user|customer|client|household|family|employee|student"
    r"|individual|respondent|citizen|donor)(_?(id|no|nr|num|number|key|code))?$",
    re.IGNORECASE,
)
_IDENTIFIER = re.compile(
    r"(^|[_\W])(id|uid|uuid|guid|key|index|rowid|row_number|ssn|mrn)[_\W]*$|[a-z]I[dD]$|^ID$|^unnamed"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """What is proposed for one column.

    Attributes:
        column: its entry in the contract.
        reason: why it is so, in a few words, without values of rows.
    """

    column: Column
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """A contract proposed for a table; see `describe`.

    Attributes:
        rows: how many rows the table has.
        target: the column to predict.
        proposals: one for each column, in the table's order.
        unit_column: a column that looks as if it named a person with several rows; None if there is none.
        max_rows_per_unit: the bound that goes with it.
        notes: what the person who reviews this should look at, one sentence each.
    """

    rows: int
    target: str
    proposals: tuple[Proposal, ...]
    unit_column: str | None
    max_rows_per_unit: int
    notes: tuple[str, ...] = field(default=())

    @property
    def contract(self) -> Contract:
        """The proposal as a contract.

        Raises:
            DataError: if it leaves nothing to learn from.
        """
        try:
            return Contract(
                columns=tuple(proposal.column for proposal in self.proposals),
                target=self.target,
                unit_column=self.unit_column,
                max_rows_per_unit=self.max_rows_per_unit,
            )
        except ValueError as error:
            raise DataError(
                f"no contract can be proposed: {error}", hint="check the data; every usable column varies"
            ) from None

    def to_policy(self) -> dict[str, Any]:
        """The keys `target`, `unit` and `columns` of a policy's section `data`."""
        return self.contract.to_policy()

    def __str__(self) -> str:
        lines = [("column", "kind", "holds", "why")]
        for proposal in self.proposals:
            column = proposal.column
            mark = " (target)" if column.name == self.target else ""
            lines.append((_shown(column.name) + mark, column.kind, _holds(column), proposal.reason))
        widths = [max(len(line[index]) for line in lines) for index in range(3)]
        table = [
            "  ".join([*(cell.ljust(w) for cell, w in zip(line, widths, strict=False)), line[3]]) for line in lines
        ]
        table.insert(1, "  ".join("-" * width for width in [*widths, 3]))
        head = f"{self.rows:,} rows, {len(self.proposals)} columns"
        return "\n".join([head, "", *(line.rstrip() for line in table), "", *(f"note: {note}" for note in self.notes)])


def _shown(text: str, most: int = 40) -> str:
    """Text fit for a terminal: no control characters, not too long."""
    plain = "".join(sign if sign.isprintable() else "?" for sign in text)
    return plain if len(plain) <= most else plain[: most - 3] + "..."


def _holds(column: Column) -> str:
    missing = ", may be missing" if column.missing else ""
    match column.kind:
        case "number" | "integer":
            entry = column.to_policy()
            scale = ", log" if column.scale == "log" else ""
            return f"{entry['low']} to {entry['high']}{scale}{missing}"
        case "category":
            some = ", ".join(_shown(value, 16) for value in column.values[:3])
            more = f", and {len(column.values) - 3} more" if len(column.values) > 3 else ""
            return f"{some}{more}{missing}"
        case "boolean":
            return f"true or false{missing}"
        case "ignore":
            return ""


def describe(table: pa.Table, *, target: str) -> Description:
    """Propose a contract for a table: kinds, rounded-out ranges, categories, what to ignore, whom a row is about.

    Ranges are rounded outwards to about a tenth of their width, so that the exact extremes, each of which is
    one row's value, are not copied. That is no guarantee: the proposal is made from the data, and what it says
    becomes public with the contract.

    Args:
        table: any table with at least one row.
        target: the column to predict.

    Raises:
        DataError: if the target is absent, or is not a class of which there are at least two.
    """
    if table.num_rows == 0:
        raise DataError("the table is empty", hint="give a table with at least one row")
    if target not in table.column_names:
        raise DataError(
            f"the target {target!r} is not a column of the data",
            hint=f"choose one of: {', '.join(_shown(name) for name in table.column_names[:20])}",
        )
    views = [_View.of(name, table.column(name)) for name in table.column_names]
    unit, max_rows = _unit(views, target)
    proposals = tuple(_target(view) if view.name == target else _propose(view, unit) for view in views)
    return Description(
        rows=table.num_rows,
        target=target,
        proposals=proposals,
        unit_column=unit,
        max_rows_per_unit=max_rows,
        notes=tuple(_notes(views, proposals, unit, max_rows)),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _View:
    """A column as `describe` looks at it: its values, the distinct ones among them and how often each occurs."""

    name: str
    values: Any = field(repr=False)
    distinct: Any = field(repr=False)
    counts: Any = field(repr=False)
    nested: bool

    @classmethod
    def of(cls, name: str, values: Any) -> _View:
        pa, pc = module("pyarrow"), module("pyarrow.compute")
        if pa.types.is_dictionary(values.type):
            values = values.cast(values.type.value_type)
        plain = is_text(values.type) or pa.types.is_boolean(values.type) or pa.types.is_null(values.type)
        if not (plain or pa.types.is_integer(values.type) or pa.types.is_floating(values.type)):
            if not pa.types.is_decimal(values.type):
                return cls(name=name, values=values, distinct=(), counts=np.zeros(0, dtype=np.int64), nested=True)
            values = pc.cast(values, pa.float64(), safe=False)
        if pa.types.is_floating(values.type):
            values = pc.if_else(pc.is_nan(values), pa.scalar(None, values.type), values)
        tally = pc.value_counts(values.drop_null())
        counts = tally.field("counts").to_numpy()
        return cls(name=name, values=values, distinct=tally.field("values"), counts=counts, nested=False)

    @property
    def rows(self) -> int:
        return len(self.values)

    @property
    def missing(self) -> bool:
        return bool(self.values.null_count)

    @property
    def texts(self) -> tuple[str, ...]:
        """The distinct values as categories: numbers by size, text by its code points, never by frequency."""
        return tuple(category_text(value) for value in sorted(self.distinct.to_pylist()))

    @property
    def identifies(self) -> bool:
        """Whether it is named like an identifier and has enough values to be one."""
        return len(self.distinct) >= _FEWEST_PERSONS and bool(
            _IDENTIFIER.search(self.name) or _PERSON.search(self.name)
        )


def _unit(views: list[_View], target: str) -> tuple[str | None, int]:
    """The first column whose name speaks of persons, and whose values repeat but are many."""
    for view in views:
        if view.name == target or view.nested or view.missing or not view.identifies:
            continue
        if module("pyarrow.types").is_floating(view.values.type):
            continue
        persons = len(view.distinct)
        if view.rows // 1000 <= persons < view.rows:
            most = int(view.counts.max())
            return view.name, min(1 << (most - 1).bit_length(), _MOST_ROWS_OF_A_PERSON)
    return None, 1


def _target(view: _View) -> Proposal:
    if view.nested or view.missing:
        problem = "has rows without a value" if view.missing else "holds neither text nor numbers"
        raise DataError(f"the target {view.name!r} {problem}", hint="choose another target, or drop these rows")
    if len(view.distinct) < 2:
        raise DataError(f"the target {view.name!r} is the same in all rows", hint="give data with at least two classes")
    if len(view.distinct) > MOST_CLASSES:
        raise DataError(
            f"the target {view.name!r} has {len(view.distinct):,} different values; only classes can be predicted",
            hint="add a column that says which class a row is in, for example above or below a threshold",
        )
    return Proposal(
        column=Column(name=view.name, kind="category", values=view.texts), reason=f"{len(view.distinct)} classes"
    )


def _ignored(view: _View, reason: str) -> Proposal:
    return Proposal(column=Column(name=view.name, kind="ignore"), reason=reason)


def _propose(view: _View, unit: str | None) -> Proposal:
    if view.name == unit:
        return _ignored(view, "names the person of a row: the privacy unit")
    if view.nested:
        return _ignored(view, "neither a number, text nor a truth value: derive one from it first")
    if len(view.distinct) == 0:
        return _ignored(view, "missing throughout")
    if len(view.distinct) == 1:
        return _ignored(view, "constant")
    types = module("pyarrow.types")
    if types.is_boolean(view.values.type):
        return Proposal(column=Column(name=view.name, kind="boolean", missing=view.missing), reason="truth values")
    return _propose_text(view) if is_text(view.values.type) else _propose_number(view)


def _propose_text(view: _View) -> Proposal:
    present, distinct = view.rows - view.values.null_count, len(view.distinct)
    if view.identifies or distinct == present:
        return _ignored(view, "an identifier, or text of which every row has its own")
    if distinct > MOST_CATEGORIES or distinct > present / 2:
        return _ignored(view, f"{distinct:,} different texts: group them into fewer to use them")
    return Proposal(
        column=Column(name=view.name, kind="category", values=view.texts, missing=view.missing),
        reason=f"{distinct} categories",
    )


def _propose_number(view: _View) -> Proposal:
    pc = module("pyarrow.compute")
    ends = extremes(view.values)
    if ends is None or ends[0] == ends[1]:
        return _ignored(view, "no two finite values differ")
    whole = not module("pyarrow.types").is_floating(view.values.type) or bool(
        pc.all(pc.equal(view.distinct, pc.floor(view.distinct))).as_py()
        and max(abs(ends[0]), abs(ends[1])) < 2**53
        and not count_infinite(view.values)
    )
    if whole and view.identifies:
        return _ignored(view, "an identifier")
    if whole and len(view.distinct) == view.rows and view.rows > 20 and ends[1] - ends[0] == view.rows - 1:
        return _ignored(view, "a row number")
    if whole and ends[0] == 0 and ends[1] == 1:
        return Proposal(column=Column(name=view.name, kind="boolean", missing=view.missing), reason="0 and 1")
    if max(abs(ends[0]), abs(ends[1])) > (_LARGEST_WHOLE if whole else _LARGEST):
        return _ignored(view, "numbers too large to compute with")
    low, high = rounded_out(ends[0], ends[1], whole=whole)
    kind: Any = "integer" if whole else "number"
    column = Column(name=view.name, kind=kind, low=low, high=high, missing=view.missing)
    median = float(pc.quantile(canonical(view.values, column), q=0.5)[0].as_py())
    if low >= 0 and high - low >= _LOG_RATIO * (median - low + 1):
        column = Column(name=view.name, kind=kind, low=low, high=high, scale="log", missing=view.missing)
        return Proposal(column=column, reason="most values are small against the largest")
    if whole and len(view.distinct) <= _FEW_WHOLE_NUMBERS:
        return Proposal(column=column, reason="few whole numbers: a category, if they are codes")
    return Proposal(column=column, reason="whole numbers" if whole else "numbers")


def rounded_out(low: float, high: float, *, whole: bool) -> tuple[float, float]:
    """A range around [low, high] whose ends are multiples of a step of 1, 2 or 5 times a power of ten.

    The step is between a twentieth and about a tenth of the range's width, and 1 at least for whole numbers.

    Args:
        low: the smallest value, finite.
        high: the largest value, finite and above `low`.
        whole: whether the ends must be whole.
    """
    width = Decimal(high) - Decimal(low)
    power = Decimal(10) ** (math.floor(width.log10()) - 2)
    step = next(power * factor for factor in (1, 2, 5, 10, 20, 50, 100) if power * factor * 20 >= width)
    if whole:
        step = max(step, Decimal(1))
    down = (Decimal(low) / step).to_integral_value(ROUND_FLOOR) * step
    up = (Decimal(high) / step).to_integral_value(ROUND_CEILING) * step
    first, last = float(down), float(up)
    # From decimal to binary an end may move inwards by a last bit, or meet the other one.
    first = min(first, math.floor(low) if whole else low)
    last = max(last, math.ceil(high) if whole else high)
    return first, last


def _notes(views: list[_View], proposals: tuple[Proposal, ...], unit: str | None, max_rows: int) -> list[str]:
    notes = [
        "the contract is treated as public knowledge. Ranges and categories taken from the data reveal something "
        "about it: replace them by what is known beforehand (an age lies in 0 to 120) before you use them.",
    ]
    used = {proposal.column.name for proposal in proposals if proposal.column.kind == "category"}
    rare = [view.name for view in views if view.name in used and view.counts.min() < RARE_ROWS]
    if rare:
        notes.append(
            f"{', '.join(map(_shown, rare))}: some categories occur in fewer than {RARE_ROWS} rows; that such a "
            "value exists tells about these few. Merge them, or list them only if they are known anyway."
        )
    codes = [proposal.column.name for proposal in proposals if "if they are codes" in proposal.reason]
    if codes:
        notes.append(
            f"{', '.join(map(_shown, codes))}: few whole numbers. If they are codes rather than amounts, "
            "make them categories."
        )
    infinite = [view.name for view in views if not view.nested and count_infinite(view.values)]
    if infinite:
        notes.append(f"{', '.join(map(_shown, infinite))}: infinite values occur; enforcing the contract refuses them.")
    if unit is not None:
        notes.append(
            f"{_shown(unit)} looks as if it named the person of each row, so the guarantee would be for the person, "
            f"each contributing at most {max_rows} rows. If rows are independent, state `unit: row`."
        )
    else:
        notes.append(
            "each row is taken to be one person's. If a person may have several, name the column that says so."
        )
    return notes
