"""What inputs look like, told from examples of them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from wardline.attacks.protocol.spec import InputSpec, Spec, TextSpec
from wardline.models.predictor import Inputs

_CUSTOMARY = ((0.0, 1.0), (-1.0, 1.0), (0.0, 255.0))  # bounds of images, the narrowest that hold the data
_ENOUGH = 20  # rows below which a column that looks whole or one-hot may do so by chance
_MAX_CHARACTERS = 10_000


def spec_from_examples(x: Inputs, *, names: tuple[str, ...] = ()) -> Spec:
    """The specification that fits examples, where nobody wrote one down.

    Texts: of the length that occurs, at least 10,000 characters. Images (two axes or more for each input): the
    narrowest of [0, 1], [-1, 1] and [0, 255] that holds all values, else each channel's own extremes. Rows of a
    table: [0, 1] if that holds all values, else each column's own extremes; a column that never changes cannot be
    changed then.
    From 20 rows on, neighbouring columns of 0 and 1 of which exactly one is 1 in every row are a one-hot group, and
    columns that hold whole numbers alone, more than one of them, keep to whole numbers.

    What only the author of a model knows is not found out: which columns nobody can change, values that are possible
    and do not occur, whole numbers by chance. Give an `InputSpec` where these matter.

    Args:
        x: float32 [rows, ...], finite, or texts.
        names: of the columns of a table.

    Raises:
        ValueError: for no rows, or anything but 32-bit numbers and texts.
    """
    if not len(x):
        raise ValueError("there must be at least one example")
    if x.dtype == object:
        spec = TextSpec(max_characters=max(_MAX_CHARACTERS, *(len(text) for text in x if isinstance(text, str))))
        spec.check(x)
        return spec
    if x.dtype != np.float32 or x.ndim < 2 or not np.isfinite(x).all():
        raise ValueError("examples must be finite float32 of shape [rows, ...], or texts")
    return _table(x, names) if x.ndim == 2 else _image(x)


def _image(x: Inputs) -> InputSpec:
    shape = tuple(x.shape[1:])
    least, most = float(x.min()), float(x.max())
    for low, high in _CUSTOMARY:
        if low <= least and most <= high:
            return InputSpec(shape=shape, low=low, high=high)
    others = (0, *range(2, x.ndim)) if x.ndim > 3 else tuple(range(x.ndim))
    lows, highs = x.min(axis=others, keepdims=True)[0], x.max(axis=others, keepdims=True)[0]
    highs = np.where(highs > lows, highs, lows + 1)
    return InputSpec(shape=shape, low=np.broadcast_to(lows, shape), high=np.broadcast_to(highs, shape))


def _table(x: Inputs, names: tuple[str, ...]) -> InputSpec:
    shape = (x.shape[1],)
    low, high = x.min(axis=0), x.max(axis=0)
    constant = low == high
    unit = bool((low >= 0).all() and (high <= 1).all())
    # In the unit range a column that does not change is a pixel that is dark here, or a category that is rare.
    mutable = None if unit or not constant.any() else ~constant
    low, high = (np.zeros_like(low), np.ones_like(high)) if unit else (low, np.where(constant, low + 1, high))
    if len(x) < _ENOUGH:
        return InputSpec(shape=shape, low=low, high=high, mutable=mutable, names=names)
    groups = _groups(x)
    grouped = np.zeros(shape, dtype=np.bool_)
    for group in groups:
        grouped[list(group)] = True
    if mutable is not None:
        mutable |= grouped
    low, high = np.where(grouped, 0, low), np.where(grouped, 1, high)
    whole = (x == np.floor(x)).all(axis=0) & ~constant & ~grouped
    steps = whole.astype(np.float32)
    return InputSpec(shape=shape, low=low, high=high, mutable=mutable, groups=groups, steps=steps, names=names)


def _groups(x: npt.NDArray[np.float32]) -> tuple[tuple[int, ...], ...]:
    """Runs of at least two columns of 0 and 1 that sum to 1 in every row, from the left, the shortest first."""
    binary = ((x == 0) | (x == 1)).all(axis=0)
    groups: list[tuple[int, ...]] = []
    start = 0
    while start < x.shape[1]:
        sums, end = np.zeros(len(x), dtype=np.float32), start
        while end < x.shape[1] and binary[end] and sums.max() <= 1 and sums.min() < 1:
            sums += x[:, end]
            end += 1
        if end - start >= 2 and (sums == 1).all():
            groups.append(tuple(range(start, end)))
            start = end
        else:
            start += 1
    return tuple(groups)
