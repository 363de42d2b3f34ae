"""What all private estimators share: checks of the budget, labels, the charge, the claim."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt
from jaxtyping import Int64
from sklearn.base import BaseEstimator, clone
from sklearn.utils.multiclass import check_classification_targets

from wardline.core import Claim, SecureRandom, digest_bytes, digest_value
from wardline.core.checks import positive, probability
from wardline.dp.accounting import DpEvent
from wardline.dp.estimators.gaussian import LARGEST_EPSILON, LEAST_EPSILON

if TYPE_CHECKING:
    from wardline.dp.ledger import Ledger, Limit

_LEAST_DELTA = 1e-30


def check_budget(epsilon: float, delta: float) -> None:
    """Refuse a budget that cannot be kept or that promises nothing.

    Raises:
        ValueError: for an epsilon outside of [0.01, 256] or a delta outside of [1e-30, 1).
    """
    positive("epsilon", epsilon)
    if not LEAST_EPSILON <= epsilon <= LARGEST_EPSILON:
        raise ValueError(f"epsilon must lie between {LEAST_EPSILON} and {LARGEST_EPSILON:g}, not {epsilon}")
    probability("delta", delta)
    if delta < _LEAST_DELTA:
        raise ValueError(f"delta must be at least {_LEAST_DELTA}, not {delta}")


def encode_labels(y: Any, classes: Sequence[Any] | None) -> tuple[npt.NDArray[Any], Int64[np.ndarray, " rows"]]:
    """The classes in order, and for each row the place of its own.

    Args:
        y: one label for each row.
        classes: all classes that may occur; None takes those in y, which are then public.

    Raises:
        ValueError: for labels that are no classes or not among `classes`, or if there are fewer than two classes.
    """
    check_classification_targets(y)
    if classes is None:
        known, codes = np.unique(y, return_inverse=True)
        if len(known) < 2:
            raise ValueError(
                "y has only one class; a classifier needs at least two. If others exist, name them all with classes="
            )
        return known, codes.astype(np.int64)
    known = np.unique(np.asarray(classes))
    if len(known) < 2 or len(known) != len(classes):
        raise ValueError("classes must be at least two labels, all different")
    if not np.isin(y, known).all():
        raise ValueError("y has a label that is not among classes")
    return known, np.searchsorted(known, y).astype(np.int64)


class PrivateEstimator(BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """An estimator whose clones charge the same ledger."""

    def __sklearn_clone__(self) -> Self:
        """As `sklearn.base.clone` does, except that the ledger is shared: a copy of it would be another budget."""
        settings = self.get_params(deep=False)
        copied = type(self)(
            **{name: one if name == "ledger" else clone(one, safe=False) for name, one in settings.items()}
        )
        if hasattr(self, "_metadata_request"):
            copied._metadata_request = copy.deepcopy(self._metadata_request)
        return copied


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """Where a fit is charged.

    Attributes:
        ledger: None charges nothing.
        dataset: the key of the data set, needed with a ledger; see `wardline.dp.dataset_key`.
        limit: what the data set may spend in all.
    """

    ledger: Ledger | None
    dataset: str | None
    limit: Limit | None

    def __post_init__(self) -> None:
        if self.ledger is not None and self.dataset is None:
            raise ValueError("dataset must name what is charged: give dataset= with ledger=")
        if self.ledger is None and (self.dataset is not None or self.limit is not None):
            raise ValueError("dataset and limit mean nothing without ledger=")

    def charge(self, events: tuple[DpEvent, ...], *, unit: str, description: str) -> str | None:
        """Charge one fit, before anything of it is computed.

        Every fit draws fresh noise and is a release of its own, so the id is drawn, too.

        Returns:
            The id of the release, to be sealed; None without a ledger.

        Raises:
            BudgetError: if the data set would exceed its limit.
        """
        if self.ledger is None or self.dataset is None:
            return None
        from wardline.dp.ledger import PlannedRelease

        release_id = digest_value({"kind": "estimator", "nonce": SecureRandom().bytes(32).hex()})
        planned = PlannedRelease(
            release_id=release_id, dataset=self.dataset, unit=unit, events=events, description=description
        )
        self.ledger.charge(planned, limit=self.limit)
        return release_id

    def seal(self, release_id: str | None, learned: Sequence[npt.NDArray[Any]]) -> None:
        """Note what the fit gave out."""
        if self.ledger is not None and release_id is not None:
            pieces = b"".join(np.ascontiguousarray(one).tobytes() for one in learned)
            self.ledger.seal(release_id, digest_bytes(pieces))


_SHARED_ASSUMPTIONS = (
    "The settings, the bounds and the names of the features are public and were not chosen by looking at this data.",
    "Nobody watches the training process itself: its memory, its running time, its errors, its unnoised sums.",
    "Scores computed on the training rows are not covered.",
)


def fit_claim(
    *,
    name: str,
    budget: tuple[float, float],
    unit: str,
    public_classes: bool | None,
    parameters: Mapping[str, Any],
    method: tuple[Sequence[str], str],
) -> Claim:
    """What a fitted estimator guarantees.

    Args:
        name: the estimator's, in lower case with underscores.
        budget: epsilon and delta.
        unit: ``row`` or ``person``.
        public_classes: whether the classes were named; False if they were taken from y, None if there are none.
        parameters: what the guarantee was computed from.
        method: the assumptions of the method alone, and the references.
    """
    epsilon, delta = budget
    assumptions, reference = method
    whose = "person, with all of their rows," if unit == "person" else "row"
    neighbours = "Neighbouring data sets differ by adding or removing one "
    if unit == "person":
        neighbours += "person with all of their rows, which carry the same group."
    else:
        neighbours += "row. A person with k rows is protected less: k times epsilon, and a larger delta."
    classes = {
        None: (),
        True: (),
        False: ("The classes that occur in y are public: they were read from it, not named beforehand.",),
    }[public_classes]
    return Claim(
        id=f"dp.{name}",
        quantity="epsilon",
        value=epsilon,
        direction="at_most",
        statement=(
            f"Whoever sees the fitted model can hardly tell whether any one {whose} was trained on: taking part "
            f"multiplies the odds of any conclusion by at most {math.exp(epsilon):.4g}, but for a probability of "
            f"{delta:g}."
        ),
        adversary=(
            "anyone who sees all that fit learned, knows all other training data and the whole procedure, and has any "
            "computing power, except against the cipher behind the noise"
        ),
        parameters={"epsilon": epsilon, "delta": delta, "unit": unit, **parameters},
        assumptions=(neighbours, *classes, *assumptions, *_SHARED_ASSUMPTIONS),
        reference=reference,
    )
