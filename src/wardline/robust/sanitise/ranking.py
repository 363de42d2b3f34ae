"""What every way of finding poisoned rows hands out: how suspicious each training row is, and how good that was."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata

from wardline.core.checks import at_least, probability

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Ranking:
    """Training rows by suspicion.

    Attributes:
        method: what ranked them, in a few words.
        reference: author, year, section.
        scores: one a row, higher is more suspicious, finite float64. Only their order has a meaning.
        proposed: the label that each row should rather have, where the method proposes one.

    Raises:
        ValueError: if scores are not one row of finite numbers, or proposals are not as many.
    """

    method: str
    reference: str
    scores: npt.NDArray[np.float64] = field(repr=False)
    proposed: Rows | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if self.scores.ndim != 1 or not len(self.scores) or not np.isfinite(self.scores).all():
            raise ValueError("scores are one row of finite numbers, at least one")
        if self.proposed is not None and self.proposed.shape != self.scores.shape:
            raise ValueError("proposed has one label for each row")

    def worst(self, count: int) -> Rows:
        """The most suspicious rows, the worst first; of equal ones the earlier row first.

        Args:
            count: how many, from 0 to the number of rows.
        """
        if not 0 <= count <= len(self.scores):
            raise ValueError(f"count must lie between 0 and {len(self.scores)}, not {count}")
        return np.argsort(-self.scores, kind="stable")[:count].astype(np.int64)

    def keep(self, count: int) -> Rows:
        """The rows that are left, in their order, when the `count` most suspicious are taken out."""
        kept = np.ones(len(self.scores), dtype=np.bool_)
        kept[self.worst(count)] = False
        return np.flatnonzero(kept).astype(np.int64)

    def quality(self, poisoned: Rows) -> RankingQuality:
        """How well the order tells poisoned rows from the others, where the truth is known.

        Args:
            poisoned: indices of the rows that are poisoned: at least one, and not all.
        """
        truth = np.zeros(len(self.scores), dtype=np.bool_)
        truth[poisoned] = True
        count = int(truth.sum())
        if not 0 < count < len(truth):
            raise ValueError("some rows must be poisoned, and some not")
        ranks = rankdata(self.scores)
        wins = float(ranks[truth].sum()) - count * (count + 1) / 2
        return RankingQuality(
            auc=wins / (count * (len(truth) - count)),
            precision=float(truth[self.worst(count)].mean()),
            poisoned=count,
            rows=len(truth),
        )

    def p_values(self, trusted: Rows) -> npt.NDArray[np.float64]:
        """A conformal p-value of each row: how rare its score is among rows known to be clean.

        Guarantee: if the trusted rows were drawn at random from the clean ones, the p-value of another clean row is at
        most t with probability at most t, for each t. It holds because the scores treat trusted and other clean rows
        alike. An attacker who knew which rows are trusted voids it. Trusted rows themselves get 1.

        Args:
            trusted: indices of rows that somebody has checked, at least one.

        References: Vovk, Gammerman and Shafer 2005, chapter 2; Bates et al. 2023, section 2.
        """
        values = conformal_p_values(self.scores[trusted], self.scores)
        values[trusted] = 1.0
        return values

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values: method and scores."""
        return {"method": self.method, "reference": self.reference, "scores": [float(one) for one in self.scores]}


@dataclass(frozen=True, slots=True, kw_only=True)
class RankingQuality:
    """How well a ranking finds what is known to be there.

    Attributes:
        auc: the probability that a poisoned row ranks above a clean one (a tie counts half).
        precision: the share of poisoned rows among the `poisoned` most suspicious ones.
        poisoned: how many rows are poisoned.
        rows: how many there are.
    """

    auc: float
    precision: float
    poisoned: int
    rows: int


def conformal_p_values(clean: npt.NDArray[np.float64], scores: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """How rare each score is among clean ones: (1 + clean scores at least as high) / (1 + clean scores).

    Guarantee: for a score exchangeable with the clean ones, the p-value is at most t with probability at most t.

    Args:
        clean: scores of what is known to be clean, [n], at least one; higher is more suspicious.
        scores: the scores to judge, [rows].

    References: Vovk, Gammerman and Shafer 2005, chapter 2.
    """
    if not len(clean):
        raise ValueError("at least one clean score is needed")
    at_least_as_high = len(clean) - np.searchsorted(np.sort(clean), scores, side="left")
    values: npt.NDArray[np.float64] = np.asarray((at_least_as_high + 1) / (len(clean) + 1), dtype=np.float64)
    return values


def false_discovery_rows(p_values: npt.NDArray[np.float64], *, rate: float = 0.1) -> Rows:
    """The rows to call poisoned so that at most the share `rate` of them is clean, on average.

    Guarantee: with conformal p-values of independent rows, from one trusted set and a score that was fixed beforehand,
    the false discovery rate is at most `rate` (the p-values depend on each other positively, which the procedure
    allows; Bates et al. 2023, theorem 2). A ranking of training rows scores rows by each other. Each of its p-values is
    valid then, but the bound on the rate is not proven; in our tests it held.

    Args:
        p_values: one a row.
        rate: the false discovery rate, in (0, 1).

    References: Benjamini and Hochberg 1995.
    """
    probability("rate", rate)
    at_least("rows", len(p_values), 1)
    order = np.argsort(p_values, kind="stable")
    under = np.flatnonzero(p_values[order] <= rate * np.arange(1, len(order) + 1) / len(order))
    return np.sort(order[: under[-1] + 1]).astype(np.int64) if len(under) else np.empty(0, dtype=np.int64)
