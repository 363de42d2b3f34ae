"""The `data` part: where the table comes from, what each column may hold, and whose privacy counts."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, Literal, TypeAlias
from urllib.parse import urlsplit

from pydantic import AfterValidator, Discriminator, Field, Tag, WrapSerializer
from pydantic import model_validator as check_whole

from wardline.policy.fields import (
    ColumnName,
    Distinct,
    Member,
    Part,
    Positive,
    Sequence,
    Share,
    Text,
    as_dict,
    refusal,
    size,
)

_SOURCES = "sklearn:NAME, file:PATH or https://HOST/PATH"


class _Column(Part):
    missing: bool = Field(
        default=False,
        description="whether values may be absent; if false, an absent value is an error in the data",
        examples=[True],
    )


class _Ranged(_Column):
    scale: Literal["linear", "log"] = Field(
        default="linear",
        description="how the range is mapped onto what the model reads; log suits amounts with a long tail "
        "and needs low of at least 0",
        examples=["log"],
    )


def _check_range(low: float, high: float, scale: str) -> None:
    if not low < high:
        raise refusal(f"low ({low:g}) is not below high ({high:g})", "exchange them, or widen the range")
    if not math.isfinite(high - low):
        raise refusal("the range from low to high is too wide to compute with", "narrow the range")
    if scale == "log" and low < 0:
        raise refusal(f"scale: log needs low of at least 0, not {low:g}", 'raise low, or write "scale: linear"')


class NumberColumn(_Ranged):
    """A column of real numbers.

    Values outside of the range break the contract. Take the range from public knowledge (what can such a
    value be?), not from the data: the largest value of a private column is itself private.
    """

    kind: Literal["number"] = Field(description="real numbers", examples=["number"])
    low: float = Field(description="the smallest value that may occur, in the column's unit; finite", examples=[0.5])
    high: float = Field(
        description="the largest value that may occur, in the column's unit; finite, above low", examples=[40.0]
    )

    @check_whole(mode="after")
    def _range(self) -> NumberColumn:
        _check_range(self.low, self.high, self.scale)
        return self


class IntegerColumn(_Ranged):
    """A column of whole numbers, read as quantities; codes belong in a category column."""

    kind: Literal["integer"] = Field(description="whole numbers", examples=["integer"])
    low: int = Field(description="the smallest value that may occur, in the column's unit", examples=[17])
    high: int = Field(description="the largest value that may occur, in the column's unit; above low", examples=[90])

    @check_whole(mode="after")
    def _range(self) -> IntegerColumn:
        _check_range(self.low, self.high, self.scale)
        return self


class CategoryColumn(_Column):
    """A column that holds one of a few listed values. A marker for "unknown", such as `?`, is one of them."""

    kind: Literal["category"] = Field(description="one of a few values", examples=["category"])
    values: Annotated[tuple[Member, ...], size(2, 10_000), Distinct, Sequence] = Field(
        description="every value that may occur, each once: text, or whole numbers; from 2 to 10,000 of them",
        examples=[["?", "Private", "State-gov"]],
    )


class BooleanColumn(_Column):
    """A column of true and false."""

    kind: Literal["boolean"] = Field(description="true or false", examples=["boolean"])


class IgnoredColumn(Part):
    """A column that is in the file and that the model must not read. It may hold anything."""

    kind: Literal["ignore"] = Field(description="not read by the model", examples=["ignore"])


Column: TypeAlias = NumberColumn | IntegerColumn | CategoryColumn | BooleanColumn | IgnoredColumn
"""What one column may hold."""

TaggedColumn: TypeAlias = Annotated[Column, Field(discriminator="kind")]


class PersonUnit(Part):
    """Privacy for a person who may have several rows; a column says whose row it is."""

    column: ColumnName = Field(
        description="the column that names the person; its kind is ignore", examples=["patient_id"]
    )
    max_rows: int = Field(
        ge=1,
        le=10_000,
        description="the most rows of one person that are used, in rows; further ones are left out",
        examples=[8],
    )


class Budget(Part):
    """A limit over all releases from this data set, whoever asked for them."""

    epsilon: Positive = Field(description="the largest total privacy loss, a finite number", examples=[10])
    delta: Share = Field(description="the largest total failure probability", examples=[1e-4])


def _check_source(source: str) -> str:
    if re.search(r"\s", source) and not source.startswith("file:"):
        raise refusal("holds a space", f"write {_SOURCES}")
    scheme, colon, rest = source.partition(":")
    match scheme:
        case "sklearn" if re.fullmatch(r"[a-z][a-z0-9_]*", rest):
            return source
        case "sklearn":
            raise refusal("does not name a scikit-learn data set", "write, for example, sklearn:breast_cancer")
        case "file" if rest.startswith("//"):
            raise refusal("is a file address with a host part", "write file:PATH, relative to this policy file")
        case "file" if rest:
            return source
        case "file":
            raise refusal("names no file", "write, for example, file:table.parquet")
        case "http":
            raise refusal("is not encrypted: anybody on the way could change the data", "use https: and a sha256")
        case "https":
            return _check_address(source)
        case _ if not colon:
            raise refusal("does not say what kind of source it is", f"write {_SOURCES}")
        case _:
            raise refusal(f"starts with {scheme + colon!r}, which is no known kind of source", f"write {_SOURCES}")


def _check_address(source: str) -> str:
    try:
        address = urlsplit(source)
        host, secret = address.hostname, address.username is not None or address.password is not None
        _ = address.port  # reading it is what checks it
    except ValueError as error:
        raise refusal("is not an address", "write https://HOST/PATH") from error
    if secret:
        # The policy is part of the signed evidence: whoever reads the report would read the password.
        raise refusal("holds a user name or password, which the evidence would publish", "remove it from the address")
    if not source.startswith("https://") or not host or address.path in ("", "/"):
        raise refusal("is not the address of a file", "write https://HOST/PATH")
    if address.fragment:
        raise refusal("holds a #fragment, which names no other file", "remove it")
    return source


Digest: TypeAlias = Annotated[str, Field(pattern=r"^[0-9a-fA-F]{64}$"), AfterValidator(str.lower)]


def _unit_tag(value: Any) -> str:
    return "person" if isinstance(value, Mapping | PersonUnit) else "row"


Unit: TypeAlias = Annotated[
    Annotated[Literal["row"], Tag("row")] | Annotated[PersonUnit, Tag("person")],
    Discriminator(_unit_tag),
]


def _freeze(value: Mapping[str, Column]) -> Mapping[str, Column]:
    return MappingProxyType(dict(value))


class Dataset(Part):
    """The table, its contract, and how it is split."""

    source: Annotated[Text, AfterValidator(_check_source)] = Field(
        description="where the table is: sklearn:NAME (ships with scikit-learn), file:PATH (Parquet or CSV, relative "
        "to the policy file) or https://HOST/PATH (needs sha256)",
        examples=["file:adult.parquet"],
    )
    sha256: Digest | None = Field(
        default=None,
        description="SHA-256 of the source's bytes, 64 hexadecimal digits; mandatory for https, checked wherever given",
        examples=["8a61c402a869918e12a70a20efe236f653721f00ae875ccc526b9070d6b851ba"],
    )
    table_sha256: Digest | None = Field(
        default=None,
        description="SHA-256 of the table's contents, the same for a CSV and a Parquet file with the same rows, as "
        "`wardline data describe` prints it; checked wherever given",
        examples=["eca473f687999951db1fc083338cb0cb92b6d8d918c26be96205161772bb522e"],
    )
    name: Text | None = Field(
        default=None,
        description="the name under which the ledger adds up everything that is released about these people, whatever "
        "file they come in; by default the digest of the table's contents. Never change it",
        examples=["city-incomes"],
    )
    header: bool = Field(
        default=True,
        description="whether a CSV source begins with a line of names; if false, data.columns names its columns, in "
        "their order",
        examples=[False],
    )
    target: ColumnName = Field(
        description="the column to predict: a category column, or a boolean one, without missing values",
        examples=["income"],
    )
    unit: Unit = Field(
        description="whose privacy counts: row, if each row is another person; or a mapping that names the column "
        "of the person",
        examples=["row", {"column": "patient_id", "max_rows": 8}],
    )
    holdout: Share = Field(
        default=0.25,
        description="the share of units kept apart from training, for measuring only",
        examples=[0.25],
    )
    budget: Budget | None = Field(
        default=None,
        description="a limit over all releases from this data set; without it, charges are recorded but not limited",
        examples=[{"epsilon": 10, "delta": 1e-4}],
    )
    columns: Annotated[
        Mapping[ColumnName, TaggedColumn],
        size(2, 4_096),
        AfterValidator(_freeze),
        WrapSerializer(as_dict),
    ] = Field(
        description="every column of the table, by name, with what it may hold; from 2 to 4,096 of them",
        examples=[{"age": {"kind": "integer", "low": 17, "high": 90}}],
    )

    @check_whole(mode="after")
    def _source_and_keys(self) -> Dataset:
        if self.source.startswith("https:") and self.sha256 is None:
            raise refusal(
                "an https source needs sha256",
                "add sha256 with the digest that the publisher states, or that you computed from a copy you trust",
            )
        if self.source.startswith("sklearn:") and not self.header:
            raise refusal("header: false is about CSV files, and the source is none", "remove header")
        return self
