"""The file of a table release, schema 1: what is asked, about whom, and at which price."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, Literal, Self, TypeAlias

from pydantic import AfterValidator, BeforeValidator, Discriminator, Field, Tag, WithJsonSchema, WrapSerializer
from pydantic import model_validator as check_whole

from wardline.policy.dataset import Budget
from wardline.policy.fields import (
    ColumnName,
    Distinct,
    Part,
    Positive,
    Sequence,
    Share,
    Text,
    Whole,
    as_dict,
    refusal,
    show,
    size,
)

_MOST_ROWS = 2**31 - 1


def _plain(value: Any) -> Any:
    if not isinstance(value, bool | int | str):
        raise refusal(f"lists {show(value)}; a value is text, a whole number, true or false", "write text in quotes")
    return value


Plain: TypeAlias = Annotated[
    Any,
    BeforeValidator(_plain),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "integer"}, {"type": "boolean"}]}),
]
Rows: TypeAlias = Annotated[int, Field(ge=1, le=_MOST_ROWS)]
Label: TypeAlias = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,63}$")]


class TableSpec(Part):
    """Where the rows are."""

    source: Text = Field(
        description="file:PATH of a Parquet or CSV file (relative to this file; * stands for several), or "
        "postgresql://USER@HOST/DATABASE#SCHEMA.TABLE",
        examples=["file:people.parquet"],
    )
    name: Text | None = Field(
        default=None,
        description="what the ledger calls the data set; needed for a table in a server, where it must always be the "
        "same; by default the digest of the file",
        examples=["people"],
    )


class UnitSpec(Part):
    """A person with all of their rows, and how much of one person is used."""

    column: ColumnName = Field(description="the column that names the person", examples=["household"])
    rows: Rows | None = Field(default=None, description="at most so many rows of one person in all", examples=[4])
    groups: Rows | None = Field(default=None, description="at most so many groups of one person", examples=[10])
    rows_per_group: Rows | None = Field(
        default=None, description="at most so many rows of one person within a group", examples=[1]
    )

    @check_whole(mode="after")
    def _bounded(self) -> Self:
        if self.rows is None and self.groups is None and self.rows_per_group is None:
            raise refusal("bounds nothing: one person could count without limit", 'add "rows: 8", for example')
        return self


def _unit_kind(value: Any) -> str:
    return "row" if isinstance(value, str) else "person"


UnitChoice: TypeAlias = Annotated[
    Annotated[Literal["row"], Tag("row")] | Annotated[UnitSpec, Tag("person")], Discriminator(_unit_kind)
]


class KeySpec(Part):
    """A column to group by."""

    column: ColumnName = Field(description="the column", examples=["state"])
    values: Annotated[tuple[Plain, ...], size(1, 20_000), Distinct, Sequence] | None = Field(
        default=None,
        description="the groups, if they are public knowledge; each is released, also if nobody is in it. Without "
        "them, groups are found in the data, and only those with enough persons are released, which needs a delta",
        examples=[["AK", "AL"]],
    )
    first: int | None = Field(default=None, description="the groups are whole numbers from this one", examples=[0])
    last: int | None = Field(default=None, description="the groups are whole numbers up to this one", examples=[9])
    cell: Positive | None = Field(
        default=None,
        description="width of a cell in the column's unit; the key is then floor(column / cell)",
        examples=[500],
    )
    dates: bool = Field(default=False, description="whether values are days, written as YYYY-MM-DD", examples=[True])

    @check_whole(mode="after")
    def _one_list(self) -> Self:
        if (self.first is None) != (self.last is None):
            raise refusal("has first or last without the other", "give both")
        if self.first is not None and self.last is not None:
            if self.values is not None:
                raise refusal("has both values and first", "give one of them")
            if not 0 <= self.last - self.first < 10_000_000:
                raise refusal("spans no groups, or more than ten million", "let first not be above last")
        return self


class _Labelled(Part):
    label: Label | None = Field(
        default=None,
        description="what the result's column is called: letters, digits, underscores; by default the column and kind",
        examples=["income_mean"],
    )


class CountSpec(_Labelled):
    """How many rows."""

    kind: Literal["count"] = Field(description="number of rows", examples=["count"])


class PersonsSpec(_Labelled):
    """How many different persons."""

    kind: Literal["persons"] = Field(description="number of persons", examples=["persons"])


class _OfColumn(_Labelled):
    column: ColumnName = Field(description="the column", examples=["income"])


class _Ranged(_OfColumn):
    lower: float | None = Field(
        default=None,
        description="values below are raised to it; from public knowledge, never from the data. Without lower and "
        "upper, a range is found privately, at a part of the price",
        examples=[0],
    )
    upper: float | None = Field(default=None, description="values above are lowered to it", examples=[200000])

    @check_whole(mode="after")
    def _range(self) -> Self:
        if (self.lower is None) != (self.upper is None):
            raise refusal("has lower or upper without the other", "give both, or neither to have a range found")
        if self.lower is not None and self.upper is not None and not self.lower < self.upper:
            raise refusal(f"lower ({self.lower:g}) is not below upper ({self.upper:g})", "exchange them")
        return self


class SumSpec(_Ranged):
    """The sum of clipped values."""

    kind: Literal["sum"] = Field(description="sum of values", examples=["sum"])


class MeanSpec(_Ranged):
    """The mean of clipped values."""

    kind: Literal["mean"] = Field(description="mean of values", examples=["mean"])


class VarianceSpec(_Ranged):
    """The variance of clipped values."""

    kind: Literal["variance"] = Field(description="variance of values", examples=["variance"])


class QuantilesSpec(_Ranged):
    """Quantiles of clipped values."""

    kind: Literal["quantiles"] = Field(description="quantiles of values", examples=["quantiles"])
    probs: Annotated[tuple[Share, ...], size(1, 1000), Distinct, Sequence] = Field(
        default=(0.25, 0.5, 0.75), description="which, ascending; 0.5 is the median", examples=[[0.5]]
    )
    bins: int = Field(
        default=1024,
        ge=2,
        le=16_384,
        description="into how many bins of equal width the range is cut",
        examples=[1024],
    )


class HistogramSpec(_OfColumn):
    """How many rows in each bin. The only aggregate of its release."""

    kind: Literal["histogram"] = Field(description="rows by bin", examples=["histogram"])
    edges: Annotated[tuple[float, ...], size(2, 10_001), Distinct, Sequence] = Field(
        description="the edges of the bins, ascending, in the column's unit", examples=[[0, 18, 65, 120]]
    )


class TopSpec(_OfColumn):
    """The values that most rows have. The only aggregate of its release."""

    kind: Literal["top"] = Field(description="most frequent values", examples=["top"])
    k: int = Field(ge=1, le=1_000_000, description="how many", examples=[10])
    values: Annotated[tuple[Plain, ...], size(1, 20_000), Distinct, Sequence] | None = Field(
        default=None, description="the candidates, if they are public knowledge", examples=[["tea", "coffee"]]
    )


AggregateSpec: TypeAlias = (
    CountSpec | PersonsSpec | SumSpec | MeanSpec | VarianceSpec | QuantilesSpec | HistogramSpec | TopSpec
)
"""What can be asked for each group."""

TaggedAggregate: TypeAlias = Annotated[AggregateSpec, Field(discriminator="kind")]


def _freeze(value: Mapping[str, float]) -> Mapping[str, float]:
    return MappingProxyType(dict(value))


class ReleaseSpec(Part):
    """A table to be released."""

    schema_version: Annotated[Literal[1], Whole] = Field(
        alias="schema", description="version of this format", examples=[1]
    )
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")] = Field(
        description="short name; the result's files are called by it: up to 64 letters, digits, dots, underscores and "
        "hyphens",
        examples=["income-by-state"],
    )
    purpose: Text = Field(description="what it is for, in one sentence", examples=["Average income of each state."])
    table: TableSpec = Field(description="where the rows are", examples=[{"source": "file:people.parquet"}])
    unit: UnitChoice = Field(
        description="who is protected: row if each row is another person, else the column that names the person and "
        "how much of one person is used",
        examples=[{"column": "household", "rows": 4}],
    )
    where: Annotated[str, Field(min_length=1, max_length=4000)] | None = Field(
        default=None,
        description="which rows to use: comparisons of columns with constants, joined by AND, OR and NOT",
        examples=["age >= 18"],
    )
    by: Annotated[tuple[KeySpec, ...], size(0, 16), Sequence] = Field(
        default=(), description="the columns to group by", examples=[[{"column": "state"}]]
    )
    aggregates: Annotated[tuple[TaggedAggregate, ...], size(1, 64), Sequence] = Field(
        description="what is asked for each group; at least one", examples=[[{"kind": "count"}]]
    )
    totals: bool = Field(
        default=False,
        description="whether totals over the keys are released, too, consistent with the groups",
        examples=[True],
    )
    epsilon: Annotated[float, Field(gt=0, le=1000)] = Field(
        description="the most that the release may reveal about one unit, as privacy loss", examples=[0.5]
    )
    delta: Annotated[float, Field(ge=0, lt=1)] = Field(
        default=0.0,
        description="the probability mass on which epsilon may not hold: far below 1 / number of persons; 0 for none",
        examples=[1e-6],
    )
    share: Annotated[Mapping[str, Positive], size(0, 64), AfterValidator(_freeze), WrapSerializer(as_dict)] = Field(
        default_factory=lambda: MappingProxyType({}),
        description="weights of aggregates in the division of the price, by label; 1 where none is given",
        examples=[{"income_mean": 2}],
    )
    limit: Budget | None = Field(
        default=None,
        description="what all releases from this data set may cost together",
        examples=[{"epsilon": 4, "delta": 1e-5}],
    )
    plot: Label | None = Field(
        default=None, description="the figure that --plot draws; by default the first one", examples=["income_mean"]
    )
