"""Membership inference on a trained model: LOSS, RMIA and LiRA, with intervals and a positive control."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

from wardline.attacks.membership.candidates import online_references, pick_candidates
from wardline.attacks.membership.control import Memorised, memorise
from wardline.attacks.membership.scores import FIXED_VARIANCE_UP_TO, scaled_confidence, unit_scores
from wardline.attacks.membership.shadow import Flags, ReferenceRecipe
from wardline.attacks.roc import Roc, TprAtFpr, non_members_needed, non_members_to_bound, roc_curve, tpr_at_fpr
from wardline.core import Control, Interval, Measurement, NoProgress, Progress, Seeds
from wardline.core.checks import at_least, probability
from wardline.data import Examples

Method = Literal["loss", "rmia", "lira"]

_METHODS: Mapping[Method, tuple[str, str]] = {
    "loss": ("LOSS: members have smaller losses", "Yeom et al. 2018, section 3"),
    "rmia": ("RMIA, online, against reference models", "Zarifzadeh, Liu, Shokri 2024, section 3"),
    "lira": ("LiRA, online, against reference models", "Carlini et al. 2022, algorithm 1"),
}
_SILENT = NoProgress()
_CONTROL_TRIES = 2  # the twin, then the memorising models: the confidence of a control is divided among them


class Model(Protocol):
    """Anything that answers with logits."""

    def logits(self, x: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Logits of each row: [rows, classes]."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MembershipSettings:
    """What is attacked with, and what is reported.

    Attributes:
        methods: which attacks, in the order of the report.
        fprs: false-positive rates at which members are recognised, in (0, 1), the main one first.
        level: confidence of all intervals, in (0, 1).
        max_candidates: the most units on either side that are attacked, at least 2; more are sampled down.

    Raises:
        ValueError: for an empty list, an unknown or doubled entry, or a number out of range.
    """

    methods: tuple[Method, ...] = ("loss", "rmia", "lira")
    fprs: tuple[float, ...] = (0.01, 0.001)
    level: float = 0.95
    max_candidates: int = 6000

    def __post_init__(self) -> None:
        if not self.methods or not set(self.methods) <= set(_METHODS) or len(set(self.methods)) < len(self.methods):
            raise ValueError(f"methods are taken from {', '.join(_METHODS)}, each once")
        if not self.fprs or len(set(self.fprs)) < len(self.fprs):
            raise ValueError("fprs are rates, each once, at least one")
        for fpr in self.fprs:
            probability("fpr", fpr)
        probability("level", self.level)
        at_least("max_candidates", self.max_candidates, 2)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Figures:
    """One method on one model."""

    roc: Roc
    rates: Mapping[float, TprAtFpr | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Positive:
    """A model that nothing protects, as a control: its figures, at the divided confidence, and a name."""

    name: str
    figures: Mapping[Method, _Figures]


def infer_membership(
    *,
    target: Model,
    control: Model,
    members: Examples,
    non_members: Examples,
    recipe: ReferenceRecipe,
    settings: MembershipSettings,
    seeds: Seeds,
    progress: Progress = _SILENT,
) -> tuple[Measurement, ...]:
    """Try to tell who was trained on, from the model's answers.

    The attacker knows the architecture, the unprotected recipe, the candidates with their labels, and all other
    training rows; each reference model is trained, without protection, on a random half of the candidates and
    on as many of those other rows as `recipe.max_rows` allows. Candidates are privacy units: a person's score is
    the mean over the person's rows. Where there are more than `settings.max_candidates` on a side, a sample of
    them is attacked; `details.sizes` says so.

    For every method there are measurements of the target (subject ``released``) and of the unprotected twin
    (``baseline``): true-positive rates at `settings.fprs`, refused where non-members are too few to see such a
    rate, and the area under the ROC curve. The positive control is the twin. Where the attack finds nothing on
    the twin because that generalises well, the control is instead the same architecture made to memorise random
    labels of candidate rows (see `membership.control`); `Control.description` tells which. A control has passed if
    the lower end of the same figure's interval lies above chance, at a confidence divided among the controls tried.

    A high rate proves leakage; a low one does not exclude it, since a better attack may exist. Only a claim that
    rests on a theorem bounds every attack.

    For a control, a rate counts as better than guessing if at the attack's own threshold the lower bound of the
    true-positive rate lies above the upper bound of the false-positive rate.

    Args:
        target: the protected model.
        control: the unprotected twin, trained on the same members.
        members: examples that both were trained on.
        non_members: examples that neither has seen.
        recipe: how reference models are trained.
        settings: methods, rates, confidence, sizes.
        seeds: sample of candidates, design, initial weights, orders.
        progress: told how the training of reference models goes.

    Raises:
        ValueError: if a side has fewer than two units, or the two sides have other columns or classes.

    References:
        Yeom et al. 2018; Carlini et al. 2022; Zarifzadeh, Liu, Shokri 2024.
    """
    began = time.perf_counter()
    chosen = pick_candidates(members, non_members, most=settings.max_candidates, seeds=seeds)
    candidates, inside_count = chosen.examples, chosen.members
    answers = online_references(chosen, recipe, seeds=seeds, progress=progress)
    references, inside = answers.phi, answers.inside

    def attack(model: Model, level: float) -> dict[Method, _Figures]:
        phi = scaled_confidence(model.logits(candidates.x), candidates.y)
        return _attack(phi, references, inside, candidates.unit, inside_count, settings=settings, level=level)

    on_target, on_twin = attack(target, settings.level), attack(control, settings.level)
    divided = 1.0 - (1.0 - settings.level) / _CONTROL_TRIES
    positives = [_Positive(name="the unprotected twin", figures=attack(control, divided))]
    if not all(_above_chance(figures) for figures in positives[0].figures.values()):
        needed = [
            non_members_to_bound(fpr, level=divided)
            for fpr, rate in positives[0].figures[settings.methods[0]].rates.items()
            if rate is not None
        ]
        memorised = memorise(
            candidates, inside_count, recipe=recipe, pooled=max(needed, default=0), seeds=seeds, progress=progress
        )
        positives.append(_memorising(memorised, settings, divided))
    details = {
        "sizes": {
            "members": inside_count,
            "non_members": candidates.n_units - inside_count,
            "members_in_all": members.n_units,
            "non_members_in_all": non_members.n_units,
            "reference_rows": answers.rows,
        },
        "references": recipe.references,
        "references_trained": "without protection, on half of the candidates and on further training rows",
        "seeds": repr(seeds),
    }
    seconds = time.perf_counter() - began
    return tuple(
        measurement
        for method in settings.methods
        for measurement in _measurements(method, on_target, on_twin, positives, settings, details, seconds)
    )


def _attack(
    phi: npt.NDArray[np.float64],
    references: npt.NDArray[np.float64],
    inside: Flags,
    unit: npt.NDArray[np.int64],
    members: int,
    *,
    settings: MembershipSettings,
    level: float,
) -> dict[Method, _Figures]:
    """Score every candidate unit by every method; the first `members` units are members."""
    figures: dict[Method, _Figures] = {}
    for method in settings.methods:
        scores = unit_scores(method, phi, references, inside, unit=unit)
        sides = scores[:members], scores[members:]
        figures[method] = _Figures(
            roc=roc_curve(*sides, level=level),
            rates={
                fpr: tpr_at_fpr(*sides, fpr=fpr, level=level) if len(sides[1]) >= non_members_needed(fpr) else None
                for fpr in settings.fprs
            },
        )
    return figures


def _memorising(memorised: Memorised, settings: MembershipSettings, level: float) -> _Positive:
    figures = _attack(
        scaled_confidence(memorised.logits, memorised.y),
        scaled_confidence(memorised.reference_logits, memorised.y),
        memorised.inside,
        memorised.unit,
        memorised.members,
        settings=settings,
        level=level,
    )
    each = memorised.members // memorised.controls
    models = "an unprotected model" if memorised.controls == 1 else f"{memorised.controls} unprotected models"
    name = f"{models} made to memorise {each} members with random labels each"
    return _Positive(name=name, figures=figures)


def _above_chance(figures: _Figures) -> bool:
    """Whether every figure that is reported lies above what guessing reaches."""
    rates = [rate for rate in figures.rates.values() if rate is not None]
    return figures.roc.auc_interval.low > 0.5 and all(rate.at_threshold.low > rate.fpr_high for rate in rates)


def _control(method: Method, fpr: float | None, positives: list[_Positive]) -> Control | None:
    """The same figure on a model that nothing protects: the twin if that works, else the memorising ones.

    None where no control can have that figure; the measurement itself is refused then.
    """
    tried: list[Control] = []
    for positive in positives:
        figures = positive.figures[method]
        if fpr is None:
            tried.append(_above(positive.name, figures.roc.auc, figures.roc.auc_interval, 0.5))
        elif (rate := figures.rates[fpr]) is not None:
            tried.append(_above(positive.name, rate.value, rate.at_threshold, rate.fpr_high))
    return next((control for control in tried if control.passed), tried[-1] if tried else None)


def _above(description: str, value: float, interval: Interval, threshold: float) -> Control:
    return Control(
        description=f"the same attack on {description}",
        value=value,
        interval=interval,
        threshold=threshold,
        passed=interval.low > threshold,
    )


def _measurements(
    method: Method,
    on_target: Mapping[Method, _Figures],
    on_twin: Mapping[Method, _Figures],
    positives: list[_Positive],
    settings: MembershipSettings,
    details: Mapping[str, Any],
    seconds: float,
) -> list[Measurement]:
    """All figures of one method: for each the target's, with a control, then the twin's."""
    title, reference = _METHODS[method]
    details = dict(details)
    if method == "lira":
        fixed = details["references"] <= FIXED_VARIANCE_UP_TO
        details["variance"] = "pooled over all examples" if fixed else "of each example"
    result = []
    for fpr in (*settings.fprs, None):
        base = f"membership.{method}"
        suffix = ".auc" if fpr is None else "" if fpr == settings.fprs[0] else f".{fpr:g}"
        for subject, figures in (("released", on_target[method]), ("baseline", on_twin[method])):
            released = subject == "released"
            extra: dict[str, Any] = {}
            if fpr == settings.fprs[0] and released:
                extra = {"roc": _chart(figures.roc, on_twin[method].roc, positives[-1].figures[method].roc)}
            result.append(
                _measurement(
                    figures,
                    fpr,
                    {
                        "id": f"{base}{suffix}" if released else f"{base}{suffix}.baseline",
                        "subject": subject,
                        "control": _control(method, fpr, positives) if released else None,
                        "method": title,
                        "reference": reference,
                        "details": {**details, **_area(figures.roc), **extra},
                        "seconds": seconds,
                    },
                )
            )
    return result


def _measurement(figures: _Figures, fpr: float | None, common: Mapping[str, Any]) -> Measurement:
    if fpr is None:
        roc = figures.roc
        return Measurement(
            quantity="auc", value=roc.auc, interval=roc.auc_interval, trials=roc.members + roc.non_members, **common
        )
    rate = figures.rates[fpr]
    quantity = f"tpr_at_fpr_{fpr:g}"
    if rate is None:
        needed, found = non_members_needed(fpr), figures.roc.non_members
        reason = f"a false-positive rate of {fpr:g} needs at least {needed} non-members, there are {found}"
        return Measurement(quantity=quantity, value=None, trials=found, refused=reason, **common)
    details = {**common["details"], "reached_fpr": rate.reached_fpr}
    return Measurement(
        quantity=quantity,
        value=rate.value,
        interval=rate.interval,
        trials=rate.trials,
        **{**common, "details": details},
    )


def _area(roc: Roc) -> dict[str, Any]:
    return {"auc": {"value": roc.auc, "interval": roc.auc_interval}}


def _chart(target: Roc, baseline: Roc, control: Roc) -> dict[str, Any]:
    return {
        "fpr": target.fpr,
        "tpr": target.tpr,
        "baseline_fpr": baseline.fpr,
        "baseline_tpr": baseline.tpr,
        "control_fpr": control.fpr,
        "control_tpr": control.tpr,
    }
