"""Writing a first policy: commented, so that each choice can be understood and changed."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from importlib import resources
from pathlib import Path
from types import MappingProxyType
from typing import Any

from wardline.core import UsageError
from wardline.policy.loader import parse_policy
from wardline.policy.problems import nearest

_BARE = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
_RESERVED = {"true", "false", "null", "yes", "no", "on", "off", "y", "n"}
_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r"}


def _recipes() -> Mapping[str, str]:
    folder = resources.files("wardline.policy") / "recipes"
    names = sorted(entry.name for entry in folder.iterdir() if entry.name.endswith(".yaml"))
    return MappingProxyType({name.removesuffix(".yaml"): (folder / name).read_text("utf-8") for name in names})


RECIPES: Mapping[str, str] = _recipes()
"""Finished policies for public data sets, by name: the commented text of each."""


def recipe(name: str) -> str:
    """The text of a finished policy for a public data set.

    Raises:
        UsageError: if there is none of that name.
    """
    if name not in RECIPES:
        raise UsageError(f'there is no recipe "{name}"', hint=nearest(name, RECIPES, "recipes"))
    return RECIPES[name]


def scaffold(
    *,
    project: str,
    source: str,
    sha256: str | None,
    columns: Mapping[str, Mapping[str, Any]],
    target: str,
    unit: str | Mapping[str, Any] = "row",
    units: int | None = None,
    table_sha256: str | None = None,
) -> str:
    """Write a commented policy for a described table.

    Args:
        project: short name of the project.
        source: where the table is, as `data.source`.
        sha256: digest of the source's bytes, if known.
        columns: the contract as `wardline data describe` infers it, each column a mapping as in `data.columns`.
        target: the column to predict.
        unit: ``row``, or a mapping with the keys column and max_rows.
        units: number of privacy units in the table, if known; delta is then chosen well below 1 / units.
        table_sha256: digest of the table's contents, if known.

    Returns:
        The text of a policy that `load_policy` accepts.

    Raises:
        PolicyError: if no valid policy can be made of these, for example because the target has one value.
    """
    lines = [
        *_head(project),
        *_data(source, sha256, table_sha256, target, unit),
        *_columns(columns),
        *_rest(_delta(units), units),
    ]
    text = "\n".join(lines) + "\n"
    parse_policy(text.encode("utf-8", "surrogatepass"), path=Path("policy.yaml"))
    return text


def _head(project: str) -> Iterator[str]:
    yield "# A Wardline policy. `wardline policy explain policy.yaml` says it in plain sentences."
    yield "schema: 1"
    yield f"project: {_scalar(project)}"
    yield "# What the model is for, in one sentence; it heads the report."
    yield "purpose: Say here in one sentence what the model is for."
    yield ""


def _data(
    source: str, sha256: str | None, table_sha256: str | None, target: str, unit: str | Mapping[str, Any]
) -> Iterator[str]:
    yield "data:"
    yield f"  source: {_scalar(source)}"
    if sha256 is not None:
        yield "  # Other bytes are refused."
        yield f'  sha256: "{sha256}"'
    if table_sha256 is not None:
        yield "  # The same for every file format that holds these rows."
        yield f'  table_sha256: "{table_sha256}"'
    yield "  # What the model predicts."
    yield f"  target: {_scalar(target)}"
    if isinstance(unit, Mapping):
        yield "  # Whose privacy counts: the person that this column names, with at most so many rows."
    else:
        yield "  # Whose privacy counts: each row, if no person has two. Else {column: NAME, max_rows: 8}."
    yield f"  unit: {_value(unit)}"
    yield "  # Share of the people kept apart from training, for measuring."
    yield "  holdout: 0.25"
    yield "  # A limit over all releases from this table; remove it, and charges are recorded but not limited."
    yield "  budget: {epsilon: 10, delta: 1e-3}"
    yield "  # The contract: data outside of it is refused. Ranges that were read from the data reveal its extremes:"
    yield "  # replace them by what is publicly known to be possible, and review every kind."


def _columns(columns: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    yield "  columns:"
    for name, column in columns.items():
        yield f"    {_scalar(name)}: {_value(column)}"
    yield ""


def _rest(delta: str, units: int | None) -> Iterator[str]:
    yield "# logistic, or mlp with the widths of its hidden layers, or cnn for images."
    yield "model: {kind: mlp, hidden: [64]}"
    yield ""
    yield "# From whom: what they get (labels, scores or artefact) and what they want."
    yield "threats:"
    yield "  - {adversary: outsider, access: artefact, goal: membership}"
    yield ""
    yield "protections:"
    yield "  - kind: dp-sgd"
    yield "    # The most that the model may reveal about one of them: smaller is stricter."
    yield "    epsilon: 3"
    known = f"; here 1/n is at least {1 / units:.1g}" if units else ""
    yield f"    # Must be below 1/n, with n people in the training part{known}."
    yield f"    delta: {delta}"
    yield ""
    yield "# Wardline attacks its own result, and an unprotected twin to see that the attack works."
    yield "attacks:"
    yield "  - {kind: membership, methods: [loss, rmia, lira], references: 16, fpr: [0.01]}"
    yield "  - {kind: audit, canaries: 1000}"
    yield ""
    yield "# All of these must hold."
    yield "gates:"
    yield "  # No measurement contradicts a claim."
    yield "  - {rule: claims-hold}"
    yield "  # Raise this to what the purpose needs."
    yield "  - {rule: accuracy, at_least: 0.5}"
    yield "  # Accuracy lost to protection."
    yield "  - {rule: price-of-privacy, at_most: 0.05}"
    yield "  # Members recognised while 1 % of outsiders are wrongly accused."
    yield "  - {rule: membership-tpr, at_fpr: 0.01, at_most: 0.1}"
    yield ""
    yield "evidence: {seed: 0}"


def _delta(units: int | None) -> str:
    """A power of ten that is at most a tenth of 1 / units, as the file spells it."""
    if units is None:
        return "1e-6"
    return f"1e-{max(4, math.ceil(math.log10(10 * max(units, 1))))}"


def _value(value: Any) -> str:
    """A value in flow style, on one line."""
    match value:
        case bool():
            return "true" if value else "false"
        case str():
            return _scalar(value)
        case Mapping():
            return "{" + ", ".join(f"{_scalar(str(key))}: {_value(item)}" for key, item in value.items()) + "}"
        case list() | tuple():
            return "[" + ", ".join(_value(item) for item in value) + "]"
        case _:
            return repr(value)


def _scalar(text: str) -> str:
    """Text as YAML: bare where nobody can read it otherwise, else in double quotes."""
    if _BARE.fullmatch(text) and text.lower() not in _RESERVED:
        return text
    return '"' + "".join(_ESCAPES.get(sign, sign if sign.isprintable() else _escape(sign)) for sign in text) + '"'


def _escape(sign: str) -> str:
    return f"\\U{ord(sign):08x}"
