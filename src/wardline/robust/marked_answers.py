"""Answers that carry a watermark: few of them, chosen by a secret key, name a class that the key chose.

Whoever trains a copy on such answers teaches it the marks. A mark in training data does not survive such a copy,
because the thief never asks about it; here every input that is asked about may carry one.
"""

from __future__ import annotations

import hashlib
import hmac
import math
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from scipy.stats import binom

from wardline.core.checks import probability
from wardline.models.predictor import Gives, Inputs, Predictor, labels_of
from wardline.robust.watermark import Ownership

_KEY_BYTES = 32
_DOMAIN = b"wardline-marked-answers/1"


@dataclass(slots=True, kw_only=True, eq=False)
class MarkedAnswers:
    """A model that gives labels alone and marks a share of them, for one client.

    Whether an input is marked, and with which class, follows from the key and the input: asking again gives the same
    answer. The class is uniform, so about one mark in `classes` is the right answer anyway.

    Guarantee: honest answers are wrong in at most a share `rate` of distinct inputs, in expectation over the key.

    What it does not do: a client who asks about each input a second time, changed by less than the model notices, sees
    which answers are marks and can leave them out, at twice the questions. A copy that is not trained until it fits
    every answer learns few of the marks.

    Attributes:
        predictor: the model.
        key: 32 secret bytes, one key for each client, from `wardline.core.SecureRandom`.
        rate: the share of inputs that are marked, in (0, 1).
        marks: how many different inputs were marked so far.

    Raises:
        ValueError: for a key of another length or a rate out of range.

    References: Szyller, Atli, Marchal and Asokan 2021 (DAWN), with classes drawn from the key so that the test is
    exact.
    """

    predictor: Predictor
    key: bytes = field(repr=False)
    rate: float = 0.01
    _marked: dict[bytes, npt.NDArray[np.float32]] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        probability("rate", self.rate)
        if len(self.key) != _KEY_BYTES:
            raise ValueError(f"a key has {_KEY_BYTES} bytes")

    @property
    def classes(self) -> int:
        """How many classes there are."""
        return self.predictor.classes

    @property
    def gives(self) -> Gives:
        """Labels."""
        return "labels"

    @property
    def marks(self) -> int:
        """How many different inputs were marked so far."""
        return len(self._marked)

    def answer(self, x: Inputs) -> npt.NDArray[np.int64]:
        """The class of each row, or its mark."""
        labels = labels_of(self.predictor.answer(x), self.predictor.gives).copy()
        limit = math.floor(self.rate * 2.0**64)
        for at, row in enumerate(np.asarray(x, dtype=np.float32)):
            digest = _digest(self.key, row)
            if labels[at] >= 0 and int.from_bytes(digest[:8], "big") < limit:
                labels[at] = int.from_bytes(digest[8:16], "big") % self.classes
                self._marked[hashlib.sha256(row.tobytes()).digest()] = row.copy()
        return labels

    def verify(self, accused: Predictor, *, level: float = 1e-9) -> Ownership:
        """Test whether a model learned from this client's answers.

        Guarantee: if neither the accused model nor the choice of inputs depends on the key beyond answers that were
        not marked, the probability of `proven` is at most `level` (exact binomial test). A model that was made from
        these answers depends on the key, which is what is to be shown; one that was not made from them does not. The
        key must have been committed to beforehand, as for `verify_watermark`.

        Raises:
            ValueError: if nothing was marked, or the level is out of range.
        """
        probability("level", level)
        if not self._marked:
            raise ValueError("this client got no marked answer")
        rows = np.stack(list(self._marked.values()))
        marks = np.array([int.from_bytes(_digest(self.key, row)[8:16], "big") % self.classes for row in rows])
        agreements = int((labels_of(accused.answer(rows), accused.gives) == marks).sum())
        p_value = float(binom.sf(agreements - 1, len(rows), 1 / self.classes))
        return Ownership(agreements=agreements, trials=len(rows), p_value=p_value, proven=p_value <= level)


def _digest(key: bytes, row: npt.NDArray[np.float32]) -> bytes:
    return hmac.digest(key, _DOMAIN + np.ascontiguousarray(row).tobytes(), "sha256")
