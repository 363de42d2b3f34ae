"""Property inference: how large a group's share of the training data was, told from the trained model."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from wardline.attacks.intervals import clopper_pearson
from wardline.attacks.membership.shadow import ReferenceRecipe
from wardline.attacks.protocol.ledger import BudgetSpent
from wardline.attacks.protocol.result import AttackResult, Budget, Check, Threat
from wardline.attacks.protocol.spec import InputSpec
from wardline.attacks.protocol.target import Access, Target
from wardline.attacks.reconstruction.leakage import unmetered
from wardline.core import Interval, Seeds, Verdict
from wardline.core.checks import at_least, probability
from wardline.data import Examples
from wardline.models import Mlp, TrainedModel, train_stack

Features: TypeAlias = Literal["answers", "weights"]
Retrain: TypeAlias = Callable[[Examples, Seeds], TrainedModel]
"""Trains a model on rows the way the target was trained, protection included."""

Numbers = npt.NDArray[np.float64]
Parameters: TypeAlias = dict[str, npt.NDArray[np.float32]]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PropertyData:
    """Rows of the kind that the target was trained on, and which of them belong to the group.

    Attributes:
        pool: the adversary's rows, none of which the target needs to have seen.
        group: whether each row belongs to the group, [rows].
        shares: the two shares of the group between which the adversary wants to tell, in (0, 1).
        rows: how many rows a training set has, at least 4.
        recipe: how models are trained, as far as the adversary knows.
        retrain: trains the models that the attack is tried on, as the target is trained; None uses the recipe, so that
            the figure is about models without protection.

    Raises:
        ValueError: if these do not fit together, or the pool is too small to draw disjoint sets for both sides.
    """

    pool: Examples
    group: npt.NDArray[np.bool_] = field(repr=False)
    shares: tuple[float, float]
    rows: int
    recipe: ReferenceRecipe
    retrain: Retrain | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        at_least("rows", self.rows, 4)
        for share in self.shares:
            probability("share", share)
        if self.shares[0] == self.shares[1]:
            raise ValueError("shares must differ")
        if self.group.shape != (len(self.pool),) or self.group.dtype != np.bool_:
            raise ValueError("group must hold a flag for each row of the pool")
        half = [int(self.group.sum()) // 2, int((~self.group).sum()) // 2]
        most = [round(max(self.shares) * self.rows), round((1 - min(self.shares)) * self.rows)]
        if half[0] < most[0] or half[1] < most[1]:
            raise ValueError("the pool needs twice as many rows of the group, and of the others, as a training set")


@dataclass(frozen=True, slots=True, kw_only=True)
class PropertyInference:
    """A classifier over models: which of two shares was each one trained with?

    Shadow models are trained side by side on sets of either share; the classifier learns what tells them apart, and is
    then tried on other models, whose rows come from the other half of the pool. The rate is its accuracy on those:
    guessing reaches a half. The guess about the target itself is in the details; one guess proves nothing.

    Attributes:
        features: ``answers`` looks at the logits on fixed rows, which do not depend on how a network numbers its units;
            ``weights`` at the parameters of an `Mlp`, units sorted by the size of what they read.
        shadows: models that the classifier learns from, even and at least 4.
        trials: models that it is tried on, even and at least 2.
        probes: rows that answers are fetched for, at least 1.
        strength: inverse of the classifier's ridge penalty, above 0.
        level: confidence of the interval, in (0, 1).

    References:
        Ganju, Wang, Yang, Gunter, Borisov 2018, sections 4.1 and 4.2 (sorted units); Ateniese et al. 2015.
    """

    features: Features = "answers"
    shadows: int = 128
    trials: int = 64
    probes: int = 64
    strength: float = 0.01
    level: float = 0.95

    def __post_init__(self) -> None:
        at_least("shadows", self.shadows, 4)
        at_least("trials", self.trials, 2)
        at_least("probes", self.probes, 1)
        if self.shadows % 2 or self.trials % 2:
            raise ValueError("shadows and trials must be even: half of the models have either share")
        if self.features not in ("answers", "weights"):
            raise ValueError("features must be answers or weights")

    @property
    def id(self) -> str:
        """``reconstruction.property``."""
        return "reconstruction.property"

    @property
    def needs(self) -> Access:
        """Scores, or white box to look at weights."""
        return Access.SCORES if self.features == "answers" else Access.WHITE_BOX

    @property
    def paper(self) -> str:
        """Author, year, section."""
        return "Ganju, Wang, Yang, Gunter, Borisov 2018, section 4"

    def run(self, target: Target, data: PropertyData, budget: Budget, seed: int) -> AttackResult:
        """Train shadow models, learn to tell them apart, try it, and guess about the target.

        Args:
            target: the model that the adversary is after.
            data: the pool, the group, the shares.
            budget: what may be spent on the target; time is looked at between stages.
            seed: of sets, initial weights and orders.

        Raises:
            AccessDenied: if the attack needs more access than the target gives.
            ValueError: if the rows do not fit the target, or weights are asked of something else than an `Mlp`.
        """
        target.require(self.needs)
        if not isinstance(target.spec, InputSpec) or target.spec.features != len(data.pool.features):
            raise ValueError("the target takes other rows than the pool holds")
        if self.features == "weights" and not isinstance(data.recipe.architecture, Mlp):
            raise ValueError("weights can be looked at in a multilayer perceptron alone; choose answers")
        seeds = Seeds(seed)
        began, before = time.process_time(), target.ledger.queries
        probes = data.pool.x[seeds.numpy("property.probes").permutation(len(data.pool))[: self.probes]]
        right: npt.NDArray[np.bool_] = np.zeros(0, dtype=np.bool_)
        details: dict[str, object] = {"paper": self.paper, "access": self.needs.value, "features": self.features}
        spent = ""
        with target.ledger.within(queries=budget.queries, seconds=budget.seconds):
            try:
                own = self._of_target(target, probes)
                halves = _halves(data, seeds)
                learned = self._models(data, halves[0], self.shadows, probes, seeds.child("property.shadows"), None)
                target.ledger.charge(0)
                judge = self._classifier(*learned)
                tried = self._models(data, halves[1], self.trials, probes, seeds.child("property.trials"), data.retrain)
                right = judge.predict(tried[0]) == tried[1]
                details["guess"] = {
                    "share": data.shares[int(judge.predict(own[None])[0])],
                    "probability_of_second": float(judge.predict_proba(own[None])[0, 1]),
                }
            except BudgetSpent as error:
                spent = str(error)
        n = len(right)
        interval = clopper_pearson(int(right.sum()), n, level=self.level) if n else None
        details |= {"shares": list(data.shares), "shadows": self.shadows, "rows": data.rows}
        details["tried_on"] = "models trained by the recipe" if data.retrain is None else "models trained as the target"
        checks = [
            Check(
                name="budget",
                outcome=Verdict.INCONCLUSIVE if spent else Verdict.PASS,
                detail=spent or "everything that was to be asked was asked",
            )
        ]
        if n:
            checks.append(self._control(data, judge, halves[1], probes, seeds, found=interval))
        return AttackResult(
            attack=self.id,
            threat=Threat(
                goal=f"tell a group's share of {data.shares[0]:g} in the training data from {data.shares[1]:g}",
                access=self.needs,
                knowledge="rows of the same kind with the group's flag, the recipe, the two shares",
            ),
            paper=self.paper,
            quantity="property_accuracy",
            n=n,
            rate=float(right.mean()) if n else None,
            interval=interval,
            chance=0.5,
            tolerated=budget.tolerated,
            queries=target.ledger.queries - before,
            checks=tuple(checks),
            seed=seed,
            details=details,
            cpu_seconds=time.process_time() - began,
        )

    def _of_target(self, target: Target, probes: npt.NDArray[np.float32]) -> Numbers:
        shape = target.spec.shape if isinstance(target.spec, InputSpec) else ()
        if self.features == "answers":
            return _centred(target.scores(probes.reshape(len(probes), *shape)))
        values = {name: value.detach().numpy() for name, value in unmetered(target).named_parameters()}
        return sorted_weights(values)

    def _models(
        self,
        data: PropertyData,
        rows: npt.NDArray[np.int64],
        count: int,
        probes: npt.NDArray[np.float32],
        seeds: Seeds,
        retrain: Retrain | None,
    ) -> tuple[Numbers, npt.NDArray[np.int64]]:
        """Features of models of either share, [models, features], and which share each has."""
        sides = np.arange(count, dtype=np.int64) % 2
        generator = seeds.numpy("sets")
        sets = np.stack([_drawn(data, rows, data.shares[side], generator) for side in sides])
        if retrain is not None:
            models = [
                retrain(data.pool.take(np.sort(chosen)), seeds.child(f"model.{index}"))
                for index, chosen in enumerate(sets)
            ]
            if self.features == "answers":
                return np.stack([_centred(model.logits(probes)) for model in models]), sides
            return np.stack([sorted_weights(dict(model.parameters)) for model in models]), sides
        recipe = data.recipe
        stack = train_stack(recipe.architecture, recipe.training, x=data.pool.x, y=data.pool.y, sets=sets, seeds=seeds)
        if self.features == "answers":
            return np.stack([_centred(logits) for logits in stack.logits(probes)]), sides
        values = {name: value.numpy() for name, value in stack.parameters.items()}
        return np.stack(
            [sorted_weights({name: value[index] for name, value in values.items()}) for index in range(count)]
        ), sides

    def _classifier(self, features: Numbers, sides: npt.NDArray[np.int64]) -> Pipeline:
        return make_pipeline(StandardScaler(), LogisticRegression(C=self.strength, max_iter=2000)).fit(features, sides)

    def _control(
        self,
        data: PropertyData,
        judge: Pipeline,
        rows: npt.NDArray[np.int64],
        probes: npt.NDArray[np.float32],
        seeds: Seeds,
        *,
        found: Interval | None,
    ) -> Check:
        """Whether it tells models apart that were trained without protection."""
        if found is not None and found.low > 0.5:
            return Check(name="control", outcome=Verdict.PASS, detail="not needed: the attack succeeded")
        if data.retrain is None:
            detail = "the models had no protection, and the attack found nothing: nobody can tell whether it works"
            return Check(name="control", outcome=Verdict.INCONCLUSIVE, detail=detail)
        tried = self._models(data, rows, self.trials, probes, seeds.child("property.control"), None)
        right = int((judge.predict(tried[0]) == tried[1]).sum())
        works = clopper_pearson(right, self.trials, level=self.level).low > 0.5
        detail = f"of models without protection it tells {right} of {self.trials} rightly"
        return Check(name="control", outcome=Verdict.PASS if works else Verdict.INCONCLUSIVE, detail=detail)


def sorted_weights(parameters: Parameters) -> Numbers:
    """The parameters of a multilayer perceptron, flat, the same however it numbers its hidden units.

    Units of each layer are sorted by the sum of their incoming weights and bias, and what reads them with them.

    Args:
        parameters: by name, as in `wardline.models.Mlp`.

    References: Ganju et al. 2018, section 4.2.
    """
    layers = [name.removesuffix(".weight") for name in parameters if name.endswith(".weight") and name != "wide.weight"]
    values = {name: value.astype(np.float64) for name, value in parameters.items()}
    for one, following in itertools.pairwise(layers):
        order = np.argsort(values[f"{one}.weight"].sum(axis=1) + values[f"{one}.bias"], kind="stable")
        for kind in ("weight", "bias"):
            values[f"{one}.{kind}"] = values[f"{one}.{kind}"][order]
        values[f"{following}.weight"] = values[f"{following}.weight"][:, order]
    flat: Numbers = np.concatenate([value.ravel() for value in values.values()])
    return flat


def _centred(logits: npt.NDArray[np.floating]) -> Numbers:
    """Logits of all probes in one row; a constant added to an answer means nothing."""
    centred: Numbers = logits.astype(np.float64) - logits.mean(axis=1, keepdims=True)
    return centred.ravel()


def _halves(data: PropertyData, seeds: Seeds) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """The pool in two parts with as many rows of the group: one to learn from, one to be tried on."""
    generator = seeds.numpy("property.halves")
    first, second = [], []
    for flag in (True, False):
        order = generator.permutation(np.flatnonzero(data.group == flag))
        first.append(order[: len(order) // 2])
        second.append(order[len(order) // 2 :])
    return np.concatenate(first), np.concatenate(second)


def _drawn(
    data: PropertyData, rows: npt.NDArray[np.int64], share: float, generator: np.random.Generator
) -> npt.NDArray[np.int64]:
    """A training set in which the group has this share."""
    wanted = round(share * data.rows)
    inside, outside = rows[data.group[rows]], rows[~data.group[rows]]
    chosen = np.concatenate(
        [generator.permutation(inside)[:wanted], generator.permutation(outside)[: data.rows - wanted]]
    )
    return generator.permutation(chosen)
