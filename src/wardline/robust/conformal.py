"""Alarms with a guaranteed rate of false ones: split conformal prediction over any score of strangeness."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from scipy.stats import beta, betabinom

from wardline.core import Claim
from wardline.core.checks import probability
from wardline.robust.sanitise.ranking import conformal_p_values

Scores = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Calibration:
    """Scores of ordinary inputs, against which others are ranked. The higher a score, the stranger its input.

    Attributes:
        scores: of inputs that neither trained the model nor made the score, finite, at least one.

    Raises:
        ValueError: if there is none, or one that is no number.

    Guarantee:
        An input that is exchangeable with those of the calibration (drawn from the same source, independently, in
        whatever order) raises an alarm with probability at most the stated rate, over the draw of both, for any score
        and any number of calibration inputs. It says nothing about inputs that an adversary chose, and ends when the
        source changes: see `shift_p_value`.

    References: Vovk, Gammerman and Shafer 2005, section 2.2; Bates et al. 2023 (Testing for outliers with conformal
        p-values), sections 2 and 3.
    """

    scores: Scores = field(repr=False)

    def __post_init__(self) -> None:
        scores = np.sort(np.asarray(self.scores, dtype=np.float64))
        if scores.ndim != 1 or not len(scores) or not np.isfinite(scores).all():
            raise ValueError("a calibration needs at least one score, and finite ones")
        scores.setflags(write=False)
        object.__setattr__(self, "scores", scores)

    def p_values(self, scores: Scores) -> Scores:
        """How rare scores as high are among ordinary inputs, in (0, 1]. One that is not finite is the strangest."""
        known = np.where(np.isfinite(scores), scores, np.inf)
        return conformal_p_values(self.scores, known)

    def alarms(self, scores: Scores, *, false_alarm_rate: float) -> npt.NDArray[np.bool_]:
        """Whether each score raises an alarm; one that is not finite does, because those of ordinary inputs are.

        Args:
            scores: of the inputs in question, [rows].
            false_alarm_rate: what is tolerated, in (0, 1).

        Raises:
            ValueError: if the calibration is too small for that rate, so that nothing could ever raise an alarm.
        """
        alarms: npt.NDArray[np.bool_] = ~np.isfinite(scores) | (scores > self.threshold(false_alarm_rate))
        return alarms

    def threshold(self, false_alarm_rate: float) -> float:
        """The conformal quantile: scores above it raise an alarm.

        Raises:
            ValueError: if the calibration is too small for that rate.
        """
        return float(self.scores[len(self.scores) - self._rank(false_alarm_rate)])

    def rate_bound(self, false_alarm_rate: float, *, confidence: float = 0.99) -> float:
        """What the rate of false alarms is at most, for this very calibration, with this confidence over its draw.

        The guarantee averages over calibrations; one that came out badly alarms more often. References: Vovk 2012
        (Conditional validity of inductive conformal predictors), proposition 2a.

        Args:
            false_alarm_rate: the rate that alarms are raised at.
            confidence: in (0, 1).
        """
        probability("confidence", confidence)
        rank = self._rank(false_alarm_rate)
        return float(beta.ppf(confidence, rank, len(self.scores) + 1 - rank))

    def shift_p_value(self, scores: Scores, *, false_alarm_rate: float = 0.05) -> float:
        """Whether so many alarms in a window of inputs can be chance: how probable as many are with none to raise.

        Alarms of one window share a calibration and are not independent; their number has a beta-binomial
        distribution, which is used, exactly for scores without ties and conservatively with them.

        Args:
            scores: of a window of inputs, fixed before they were seen, at least one.
            false_alarm_rate: the rate of single alarms, in (0, 1).

        Guarantee:
            If the window is exchangeable with the calibration, the result is below any p with probability at most p.
            Of many windows one looks strange by chance: divide p by their number.
        """
        if not len(scores):
            raise ValueError("a window has at least one input")
        rank = self._rank(false_alarm_rate)
        count = int(self.alarms(scores, false_alarm_rate=false_alarm_rate).sum())
        return float(betabinom.sf(count - 1, len(scores), rank, len(self.scores) + 1 - rank))

    def claim(self, false_alarm_rate: float, *, of: str) -> Claim:
        """The guarantee as a value.

        Args:
            false_alarm_rate: the rate that alarms are raised at.
            of: stands for the monitor in the claim's id, for example ``energy``.
        """
        return Claim(
            id=f"monitor.{of}",
            quantity="false_alarm_prob",
            value=false_alarm_rate,
            direction="at_most",
            statement=f"An ordinary input raises an alarm with probability at most {false_alarm_rate:.4g}.",
            adversary="none: the claim is about ordinary inputs and promises nothing about chosen ones",
            parameters={
                "calibration_inputs": len(self.scores),
                "false_alarm_rate": false_alarm_rate,
                "rate_bound_at_99_percent": self.rate_bound(false_alarm_rate),
            },
            assumptions=(
                "the input and the calibration inputs are exchangeable: of one source, in whatever order",
                "the calibration inputs neither trained the model nor made the score",
                "the probability is over the draw of the calibration and the input together",
            ),
            reference="Vovk, Gammerman and Shafer 2005, section 2.2",
        )

    def _rank(self, false_alarm_rate: float) -> int:
        """How many of the highest calibration scores an input must exceed all but: alarms start there."""
        probability("false_alarm_rate", false_alarm_rate)
        # The slack undoes binary rounding of products that are whole; p-values are multiples of 1 / (n + 1).
        rank = math.floor((len(self.scores) + 1) * false_alarm_rate + 1e-9)
        if rank < 1:
            raise ValueError(
                f"{len(self.scores)} calibration inputs are too few for a false-alarm rate of {false_alarm_rate:g}: "
                f"at least {math.ceil(1 / false_alarm_rate - 1e-9) - 1} are needed"
            )
        return rank
