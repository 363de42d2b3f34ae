"""Membership attacks on a model's confidences: LOSS, RMIA and LiRA, online and offline, as attacks of the protocol."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import assert_never

import numpy as np

from wardline.attacks.membership.candidates import Answers, Candidates, offline_references, online_references
from wardline.attacks.membership.control import memorise
from wardline.attacks.membership.driver import (
    Limits,
    MembershipData,
    Sides,
    UnusableAnswersError,
    attack_membership,
    shaped,
    sides_of,
)
from wardline.attacks.membership.scores import ScoreMethod, scaled_confidence, unit_scores
from wardline.attacks.membership.shadow import ReferenceRecipe
from wardline.attacks.protocol.result import AttackResult, Budget
from wardline.attacks.protocol.target import Access, Target
from wardline.attacks.roc import non_members_to_bound
from wardline.core import NoProgress, Progress, Seeds, UsageError

_SILENT = NoProgress()
_LOSS_PRIOR = "the candidates with their true classes, and rows that were surely not trained on to set the threshold"
_RECIPE = "the architecture and the recipe, but none of the protection"
_METHODS: Mapping[ScoreMethod, tuple[str, str]] = {
    "loss": ("Yeom, Giacomelli, Fredrikson, Jha 2018, section 3", _LOSS_PRIOR),
    "rmia": (
        "Zarifzadeh, Liu, Shokri 2024, section 3 (online)",
        f"{_LOSS_PRIOR}; {_RECIPE}; all other training rows; references trained on half of the candidates each",
    ),
    "rmia_offline": (
        "Zarifzadeh, Liu, Shokri 2024, section 3 (offline)",
        f"{_LOSS_PRIOR}; {_RECIPE}; rows of the same kind; references trained on none of the candidates",
    ),
    "lira": (
        "Carlini, Chien, Nasr, Song, Terzis, Tramer 2022, algorithm 1 (online)",
        f"{_LOSS_PRIOR}; {_RECIPE}; all other training rows; references trained on half of the candidates each",
    ),
    "lira_offline": (
        "Carlini, Chien, Nasr, Song, Terzis, Tramer 2022, section IV-C (offline)",
        f"{_LOSS_PRIOR}; {_RECIPE}; rows of the same kind; references trained on none of the candidates",
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreAttack:
    """Membership from the confidence in the true class.

    Attributes:
        method: how confidences become scores.
        limits: what is reported, and on how many.
        a: of RMIA offline, in [0, 1]; see `wardline.attacks.membership.scores.rmia_offline_log_ratio`.
    """

    method: ScoreMethod
    limits: Limits = field(default_factory=Limits)
    a: float = 0.3

    @property
    def id(self) -> str:
        """``membership.`` and the method."""
        return f"membership.{self.method}"

    @property
    def needs(self) -> Access:
        """Scores."""
        return Access.SCORES

    @property
    def paper(self) -> str:
        """Author, year, section."""
        return _METHODS[self.method][0]

    @property
    def prior(self) -> str:
        """What the adversary knows beforehand."""
        return _METHODS[self.method][1]

    def run(
        self, target: Target, data: MembershipData, budget: Budget, seed: int, *, progress: Progress = _SILENT
    ) -> AttackResult:
        """Attack; see `wardline.attacks.membership.driver.attack_membership`."""
        return attack_membership(self, target, data, budget=budget, seed=seed, progress=progress)

    def score(
        self, target: Target, candidates: Candidates, data: MembershipData, *, seeds: Seeds, progress: Progress
    ) -> Sides:
        """Ask the target about every candidate once, then train references if the method has any."""
        examples = candidates.examples
        logits = target.scores(shaped(target, examples.x))
        if not np.isfinite(logits).all():
            broken = int((~np.isfinite(logits).all(axis=1)).sum())
            raise UnusableAnswersError(f"{broken} of {len(logits)} rows got an answer that is no number")
        phi = scaled_confidence(logits, examples.y)
        answers = self._references(candidates, data, seeds=seeds, progress=progress)
        units = examples.n_units
        references = np.zeros((0, len(phi))) if answers is None else answers.phi
        inside = np.zeros((0, units), dtype=np.bool_) if answers is None else answers.inside
        scores = unit_scores(self.method, phi, references, inside, unit=examples.unit, a=self.a)
        details: dict[str, object] = {"method": self.method}
        if answers is not None:
            details |= {"references": len(answers.phi), "reference_rows": answers.rows}
        if self.method == "rmia_offline":
            details["a"] = self.a
        return sides_of(scores, candidates.members, details)

    def control(
        self, target: Target, candidates: Candidates, recipe: ReferenceRecipe, *, seeds: Seeds, progress: Progress
    ) -> Sides:
        """The same scores on models that memorise; offline methods look at references without the candidate alone."""
        del target
        needed = non_members_to_bound(self.limits.fpr, level=self.limits.level)
        made = memorise(
            candidates.examples, candidates.members, recipe=recipe, pooled=needed, seeds=seeds, progress=progress
        )
        phi, references = scaled_confidence(made.logits, made.y), scaled_confidence(made.reference_logits, made.y)
        scores = unit_scores(self.method, phi, references, made.inside, unit=made.unit, a=self.a)
        return sides_of(scores, made.members, {})

    def _references(
        self, candidates: Candidates, data: MembershipData, *, seeds: Seeds, progress: Progress
    ) -> Answers | None:
        match self.method:
            case "loss":
                return None
            case "rmia" | "lira":
                return online_references(candidates, data.needed_recipe(self.id), seeds=seeds, progress=progress)
            case "rmia_offline" | "lira_offline":
                recipe = data.needed_recipe(self.id)
                if data.population is None:
                    raise UsageError(
                        f"{self.id} trains references on rows that are no candidates, and the data has none",
                        hint="give such rows as population, or choose the online attack",
                    )
                return offline_references(
                    candidates, data.population, recipe, size=len(data.members), seeds=seeds, progress=progress
                )
            case _:
                assert_never(self.method)


def loss_attack() -> ScoreAttack:
    """LOSS: members have smaller losses."""
    return ScoreAttack(method="loss")


def rmia_attack() -> ScoreAttack:
    """RMIA, online."""
    return ScoreAttack(method="rmia")


def rmia_offline_attack() -> ScoreAttack:
    """RMIA, offline."""
    return ScoreAttack(method="rmia_offline")


def lira_attack() -> ScoreAttack:
    """LiRA, online."""
    return ScoreAttack(method="lira")


def lira_offline_attack() -> ScoreAttack:
    """LiRA, offline."""
    return ScoreAttack(method="lira_offline")
