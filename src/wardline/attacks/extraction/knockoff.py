"""Knockoff nets: a copy trained on the model's answers about whatever inputs the adversary has."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
from sklearn.cluster import MiniBatchKMeans

from wardline.attacks.extraction.substitute import Substitute, hand_in_copy
from wardline.attacks.extraction.theft import ExtractionData, Theft, run_theft
from wardline.attacks.protocol.result import AttackResult, Budget, Threat
from wardline.attacks.protocol.target import Access, Target
from wardline.core import Seeds
from wardline.core.checks import at_least
from wardline.models import Architecture
from wardline.models.predictor import Inputs
from wardline.models.torch_predictor import TorchPredictor

Choice: TypeAlias = Literal["random", "adaptive"]

_ROUNDS = 10
_SHARES = (0.1, 0.25, 0.5, 1.0)
_TINY = 1e-12

Floats = npt.NDArray[np.float32]
Rows = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Knockoff:
    """Trains a copy on the model's answers about inputs of a pool.

    Attributes:
        queries: inputs to ask about, at least 10; fewer if the pool or the budget has fewer.
        choose: ``random``, or ``adaptive``: a gradient bandit over clusters of the pool, rewarded by how certain, how
            varied and how surprising the answers are. The paper takes the pool's own classes in place of clusters; a
            pool without classes has clusters alone.
        architecture: of the copy; None takes one from the inputs' shape.
        steps: of the copy's training, at least 1.
        clusters: arms of the bandit, at least 2.

    Raises:
        ValueError: for a number out of range.

    References: Orekondy, Schiele and Fritz 2019, section 4 (random and adaptive strategies).
    """

    queries: int = 2000
    choose: Choice = "random"
    architecture: Architecture | None = None
    steps: int = 1000
    clusters: int = 30
    id: ClassVar[str] = "extraction.knockoff"
    needs: ClassVar[Access] = Access.LABELS
    paper: ClassVar[str] = "Orekondy, Schiele and Fritz 2019, section 4"

    def __post_init__(self) -> None:
        at_least("queries", self.queries, 10)
        at_least("steps", self.steps, 1)
        at_least("clusters", self.clusters, 2)
        if self.choose not in ("random", "adaptive"):
            raise ValueError("choose is random or adaptive")

    def run(self, target: Target, data: ExtractionData, budget: Budget, seed: int) -> AttackResult:
        """Copy the target; `details` tells the agreement after a tenth, a quarter, half and all of the questions."""
        threat = Threat(
            goal="a copy",
            access=target.access,
            limits=f"at most {self.queries} queries, chosen by {self.choose}",
            knowledge=f"{len(data.pool)} inputs of a pool, without classes",
        )
        return run_theft(self, target, data, threat=threat, budget=budget, seed=seed)

    def steal(self, theft: Theft) -> None:
        """Ask about inputs of the pool in rounds; train copies on the answers."""
        total = min(theft.allowance(self.queries), len(theft.pool))
        if self.choose == "random":
            order = theft.seeds.numpy("knockoff.order").permutation(len(theft.pool))[:total]
            done = 0
            for share in _SHARES:
                until = max(1, round(share * total))
                theft.ask(theft.pool[order[done:until]])
                done = until
                self._hand_in(theft)
            return
        bandit = _Bandit(theft.pool, arms=self.clusters, seeds=theft.seeds, classes=theft.classes)
        handed = [max(1, round(share * _ROUNDS)) for share in _SHARES]
        copy: Substitute | None = None
        for turn in range(1, _ROUNDS + 1):
            rows, arms = bandit.draw(round(turn * total / _ROUNDS) - round((turn - 1) * total / _ROUNDS))
            answers = theft.ask(theft.pool[rows])
            copied = None if copy is None else _probabilities(copy, theft.pool[rows])
            bandit.learn(arms, answers, copied)
            if turn in handed:
                copy = self._hand_in(theft)

    def _hand_in(self, theft: Theft) -> Substitute:
        stream = f"copy.{sum(map(len, theft.asked))}"
        return hand_in_copy(theft, architecture=self.architecture, steps=self.steps, stream=stream)


def _probabilities(copy: Substitute, x: Inputs) -> npt.NDArray[np.float64]:
    logits = TorchPredictor(copy, classes=copy.network.architecture.classes).answer(x).astype(np.float64)
    logits -= logits.max(axis=1, keepdims=True)
    found = np.exp(logits)
    probabilities: npt.NDArray[np.float64] = found / found.sum(axis=1, keepdims=True)
    return probabilities


class _Bandit:
    """A gradient bandit over clusters of the pool (Sutton and Barto 2018, section 2.8)."""

    def __init__(self, pool: Inputs, *, arms: int, seeds: Seeds, classes: int) -> None:
        flat = np.asarray(pool, dtype=np.float32).reshape(len(pool), -1)
        spread = flat.std(axis=0)
        scaled = flat / np.where(spread > 0, spread, 1)
        self._arm: Rows = (
            MiniBatchKMeans(
                n_clusters=min(arms, len(pool)), random_state=seeds.integer("knockoff.clusters") % 2**32, n_init=1
            )
            .fit_predict(scaled)
            .astype(np.int64)
        )
        self._rng = seeds.numpy("knockoff.bandit")
        arms = int(self._arm.max()) + 1
        self._free = [list(self._rng.permutation(np.flatnonzero(self._arm == arm))) for arm in range(arms)]
        self._preference, self._count = np.zeros(arms), np.zeros(arms)
        self._seen, self._answers = 0, np.zeros(classes)
        # Each kind of reward by itself, to bring all to one scale.
        self._sums, self._squares, self._mean = np.zeros(3), np.zeros(3), 0.0

    def draw(self, count: int) -> tuple[Rows, Rows]:
        """So many inputs that were not drawn before, and their arms."""
        rows: list[int] = []
        arms: list[int] = []
        for _ in range(count):
            chances = self._policy()
            arm = int(self._rng.choice(len(chances), p=chances))
            rows.append(int(self._free[arm].pop()))
            arms.append(arm)
        return np.array(rows, dtype=np.int64), np.array(arms, dtype=np.int64)

    def learn(self, arms: Rows, answers: Floats, copied: npt.NDArray[np.float64] | None) -> None:
        """Prefer arms whose answers were certain, unlike those before, and unlike the copy's."""
        for at, (arm, answer) in enumerate(zip(arms, answers.astype(np.float64), strict=True)):
            if not np.isfinite(answer).all():
                continue
            top = np.sort(answer)
            varied = np.maximum(0, answer - self._answers / max(1, self._seen)).sum()
            surprise = 0.0 if copied is None else -float(answer @ np.log(copied[at] + _TINY))
            reward = self._scaled(np.array([top[-1] - top[-2], varied, surprise]))
            self._answers += answer
            self._count[arm] += 1
            chances = self._policy()
            step = (reward - self._mean) / self._count[arm]
            self._mean += (reward - self._mean) / self._seen
            self._preference -= step * chances
            self._preference[arm] += step

    def _scaled(self, rewards: npt.NDArray[np.float64]) -> float:
        self._seen += 1
        self._sums += rewards
        self._squares += rewards**2
        mean = self._sums / self._seen
        spread = np.sqrt(np.maximum(self._squares / self._seen - mean**2, 0))
        return float(np.where(spread > _TINY, (rewards - mean) / np.maximum(spread, _TINY), 0).sum())

    def _policy(self) -> npt.NDArray[np.float64]:
        weights = np.exp(self._preference - self._preference.max())
        weights[[not free for free in self._free]] = 0
        if not weights.sum():
            weights[[bool(free) for free in self._free]] = 1
        result: npt.NDArray[np.float64] = weights / max(weights.sum(), _TINY)
        return result
