"""Alarms about texts that look tampered with, at a false-alarm rate that is fixed beforehand."""

from __future__ import annotations

import functools
import unicodedata
from collections.abc import Collection
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from wardline.core.checks import probability
from wardline.models.predictor import Inputs
from wardline.models.text_vectors import WORD


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TextMonitor:
    """Raises an alarm where a text has more unknown words, mixed scripts or invisible characters than harmless ones.

    Attributes:
        known: words of the training texts, lower-cased.
        calibration: scores of harmless texts that are not among those the words come from, sorted.
        false_alarm_rate: the share of harmless texts that raise an alarm at most, in (0, 1).

    Guarantee:
        If a text is exchangeable with the calibration texts (drawn from the same source, independently), it raises an
        alarm with probability at most `false_alarm_rate`, over the draw of both; whatever the score is good for. The
        guarantee is about harmless texts: nothing is promised about attacks, and one that uses known words alone is not
        seen. It ends when the source of the texts changes.

    References: Vovk, Gammerman and Shafer 2005, chapter 2 (conformal p-values); Bates, Candès, Lei, Romano and Sesia
        2023 (their use for outliers).
    """

    known: Collection[str] = field(repr=False)
    calibration: npt.NDArray[np.float64] = field(repr=False)
    false_alarm_rate: float = 0.05

    def __post_init__(self) -> None:
        probability("false_alarm_rate", self.false_alarm_rate)
        if not len(self.calibration) or not np.isfinite(self.calibration).all():
            raise ValueError("calibration must hold at least one finite score")
        object.__setattr__(self, "calibration", np.sort(self.calibration))
        if (len(self.calibration) + 1) * self.false_alarm_rate < 1:
            raise ValueError(
                f"{len(self.calibration)} calibration texts are too few for a false-alarm rate of "
                f"{self.false_alarm_rate:g}: no text could ever raise an alarm"
            )

    @classmethod
    def fit(cls, texts: Inputs, *, known: Collection[str], false_alarm_rate: float = 0.05) -> TextMonitor:
        """The monitor of harmless texts that were not used for training.

        Args:
            texts: harmless texts, at least 1 / false_alarm_rate of them.
            known: words of the training texts, lower-cased.
            false_alarm_rate: what is tolerated, in (0, 1).
        """
        known = frozenset(known)
        return cls(known=known, calibration=tampering(texts, known), false_alarm_rate=false_alarm_rate)

    def p_values(self, texts: Inputs) -> npt.NDArray[np.float64]:
        """How usual each text is among harmless ones: [rows], in (0, 1]."""
        above = len(self.calibration) - np.searchsorted(self.calibration, tampering(texts, self.known), side="left")
        values: npt.NDArray[np.float64] = np.asarray((1.0 + above) / (1.0 + len(self.calibration)), dtype=np.float64)
        return values

    def alarms(self, texts: Inputs) -> npt.NDArray[np.bool_]:
        """Whether each text raises an alarm: [rows]."""
        return self.p_values(texts) <= self.false_alarm_rate


def tampering(texts: Inputs, known: Collection[str]) -> npt.NDArray[np.float64]:
    """How tampered with each text looks: [rows], at least 0.

    The share of unknown words, and 1 for each word of mixed scripts and each invisible character: those have hardly any
    harmless cause, and one is as good as a text of unknown words.
    """
    scores = np.zeros(len(texts))
    for row, text in enumerate(texts):
        words = WORD.findall(text.lower())
        if words:
            scores[row] = sum(word not in known for word in words) / len(words)
        if not text.isascii():
            scores[row] += sum(_mixed(word) for word in words) + sum(_hidden(character) for character in text)
    return scores


def _mixed(word: str) -> bool:
    return not word.isascii() and len({script for script in map(_script, word) if script}) > 1


@functools.lru_cache(maxsize=1 << 16)
def _script(character: str) -> str:
    """The script of a letter, by the first word of its Unicode name; the standard library knows no better way."""
    return unicodedata.name(character, "").partition(" ")[0] if character.isalpha() else ""


@functools.lru_cache(maxsize=1 << 16)
def _hidden(character: str) -> bool:
    return unicodedata.category(character) in {"Cf", "Co", "Cn", "Cs", "Cc"} and not character.isspace()
