"""Attribute inference in an audit: which attribute is hidden, from whom, and a model that surely leaks it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from wardline.attacks.protocol.examples import Labelled
from wardline.attacks.protocol.spec import InputSpec, Spec
from wardline.attacks.reconstruction.attribute import AttributeData
from wardline.models.answers import AnswerForm
from wardline.models.callable_predictor import CallablePredictor
from wardline.models.predictor import Inputs

_WIDEST = 32  # values of an attribute
_OTHERS = 2000  # rows of other people: an imputer learns little from more
_PEOPLE = 1000  # rows that were trained on: their rate's interval is then narrow enough to pass
_SURE = 0.999  # what the model that knows rows by heart gives to their class


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Attribute:
    """A category or a yes-or-no of a row.

    Attributes:
        columns: where it stands: one column, or all of a one-hot group.
        values: what these can hold, float32 [values, columns].
    """

    columns: tuple[int, ...]
    values: npt.NDArray[np.float32]


def hidden_attribute(spec: Spec, x: Inputs) -> Attribute | None:
    """The attribute of rows that is hardest to guess without looking: whose commonest value is rarest.

    One is hidden in an audit, not each in turn: many tries would find some leak by chance.

    Args:
        spec: of the rows; one-hot groups and columns with two values count.
        x: rows [rows, columns].

    Returns:
        None if there is no such attribute that takes at least two values in these rows.
    """
    if not isinstance(spec, InputSpec) or len(spec.shape) != 1:
        return None
    known = [
        Attribute(columns=group, values=np.eye(len(group), dtype=np.float32))
        for group in spec.groups
        if len(group) <= _WIDEST
    ]
    grouped = {column for group in spec.groups for column in group}
    low, high, steps = (np.asarray(one, dtype=np.float32) for one in (spec.low, spec.high, spec.steps))
    for column in range(spec.features):
        if column not in grouped and steps[column] > 0 and np.isclose(high[column] - low[column], steps[column]):
            known.append(
                Attribute(columns=(column,), values=np.array([[low[column]], [high[column]]], dtype=np.float32))
            )
    x = _spaced(x, _OTHERS)
    shares = [_commonest(one, x) for one in known]
    usable = [index for index, share in enumerate(shares) if share < 1.0]
    return known[min(usable, key=shares.__getitem__)] if usable else None


def attribute_data(
    attribute: Attribute, *, people: Labelled, population: Labelled, classes: int, most: int = _PEOPLE
) -> AttributeData:
    """What the attack takes: rows that were trained on, others, and a model that knows the former by heart.

    Args:
        attribute: what is hidden.
        people: rows that the model was trained on; at most so many of them, evenly spaced, are asked about.
        population: rows that it was not trained on.
        classes: of the model.
        most: the most people.
    """
    asked = Labelled(x=_spaced(people.x, most), y=_spaced(people.y, most))
    by_heart = {row.tobytes(): int(y) for row, y in zip(asked.x, asked.y, strict=True)}

    def recall(x: Inputs) -> npt.NDArray[np.float64]:
        answers = np.full((len(x), classes), 1.0 / classes)
        for row, answer in zip(np.ascontiguousarray(x), answers, strict=True):
            y = by_heart.get(row.tobytes())
            if y is not None:
                answer[:] = (1.0 - _SURE) / (classes - 1)
                answer[y] = _SURE
        return answers

    return AttributeData(
        people=asked,
        columns=attribute.columns,
        values=attribute.values,
        population=Labelled(x=_spaced(population.x, _OTHERS), y=_spaced(population.y, _OTHERS)),
        twin=CallablePredictor(recall, form=AnswerForm(gives="probabilities", classes=classes)),
    )


def name_of(columns: tuple[int, ...], features: tuple[str, ...]) -> str:
    """The attribute in these columns in words, for the evidence."""
    names = [features[column] if column < len(features) else f"column {column}" for column in columns]
    return names[0] if len(names) == 1 else f"{names[0]} to {names[-1]}"


def _spaced(rows: npt.NDArray[Any], most: int) -> npt.NDArray[Any]:
    """So many of the rows at most, evenly spaced."""
    return rows[np.linspace(0, len(rows) - 1, min(most, len(rows))).astype(np.int64)]


def _commonest(attribute: Attribute, x: Inputs) -> float:
    """The share of the commonest value; 1 if some row holds none of the values."""
    apart = np.abs(x[:, None, list(attribute.columns)] - attribute.values[None]).max(axis=2)
    if not len(x) or (apart.min(axis=1) > 1e-5).any():
        return 1.0
    return float(np.bincount(apart.argmin(axis=1)).max() / len(x))
