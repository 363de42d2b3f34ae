"""What each defence buys: accuracy before an attack, under it, and under the attack that knows the defence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from wardline.attacks.intervals import clopper_pearson
from wardline.attacks.protocol.attack import Attack
from wardline.attacks.protocol.examples import Labelled
from wardline.attacks.protocol.result import Budget
from wardline.attacks.protocol.spec import TextSpec
from wardline.attacks.protocol.target import Target
from wardline.core import Interval, Verdict
from wardline.models.predictor import Predictor, labels_of

ALL = "all"
"""The name of the row that counts what no attack broke."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rung:
    """One defence under one attack.

    Attributes:
        pipeline: the defence.
        attack: the attack.
        n: texts.
        clean: share of the texts that it gets right unprovoked. A refused text is not got right.
        transferred: share that it gets right unprovoked, and right or refused after the attack on the undefended model,
            which knows nothing of the defence.
        adapted: the same share after the attack on the defence itself: the figure that counts.
        adapted_interval: its exact interval.
        queries: what the adapted attack asked.
    """

    pipeline: str
    attack: str
    n: int
    clean: float
    transferred: float
    adapted: float
    adapted_interval: Interval
    queries: int

    def __str__(self) -> str:
        low, high = self.adapted_interval.low, self.adapted_interval.high
        return (
            f"{self.attack:12} {self.pipeline:30} clean {self.clean:.3f}  transferred {self.transferred:.3f}  "
            f"adapted {self.adapted:.3f} [{low:.3f}, {high:.3f}]  n={self.n}, {self.queries} queries"
        )


def climb(
    pipelines: Mapping[str, Predictor],
    attacks: Mapping[str, Attack],
    data: Labelled,
    *,
    budget: Budget,
    seed: int,
    spec: TextSpec | None = None,
) -> tuple[Rung, ...]:
    """Every defence under every attack, once crafted on the undefended model and once on the defence itself.

    Where there are several attacks, a last row for each defence (`ALL`) counts the texts that none of them broke.

    Args:
        pipelines: predictors by name; the first is the undefended one.
        attacks: attacks by name.
        data: texts with their true classes.
        budget: of each attack on each pipeline.
        seed: of each attack.
        spec: of the texts.

    Raises:
        ValueError: if there is no pipeline or no attack, or a budget ends before every text was tried: half a row
            would be read as a whole one.
    """
    if not pipelines or not attacks:
        raise ValueError("there must be a pipeline and an attack")
    rungs: list[Rung] = []
    outcomes: dict[str, list[_Outcome]] = {name: [] for name in pipelines}
    for attack_name, attack in attacks.items():
        blind = None
        for name, predictor in pipelines.items():
            target = Target(predictor, spec or TextSpec(), name=name)
            result = attack.run(target, data, budget, seed)
            if any(check.name == "budget" and check.outcome is not Verdict.PASS for check in result.checks):
                raise ValueError(f"the budget ended before {attack_name} was through with {name}")
            right, found = (np.asarray(result.examples[key], dtype=np.bool_) for key in ("right", "found"))
            blind = result.examples["adversarial"] if blind is None else blind
            told = labels_of(predictor.answer(blind), predictor.gives)
            spoilt = (told >= 0) & (told != data.y)
            outcome = _Outcome(right=right, told=right & ~spoilt, held=right & ~found, queries=result.queries)
            outcomes[name].append(outcome)
            rungs.append(outcome.rung(name, attack_name))
    if len(attacks) > 1:
        rungs += [_worst(found).rung(name, ALL) for name, found in outcomes.items()]
    return tuple(rungs)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Outcome:
    """What became of each text on one pipeline: right unprovoked, still right after a transfer, after an attack."""

    right: npt.NDArray[np.bool_]
    told: npt.NDArray[np.bool_]
    held: npt.NDArray[np.bool_]
    queries: int

    def rung(self, pipeline: str, attack: str) -> Rung:
        n, held = len(self.right), int(self.held.sum())
        return Rung(
            pipeline=pipeline,
            attack=attack,
            n=n,
            clean=float(self.right.mean()),
            transferred=float(self.told.mean()),
            adapted=held / n,
            adapted_interval=clopper_pearson(held, n),
            queries=self.queries,
        )


def _worst(outcomes: list[_Outcome]) -> _Outcome:
    """What became of each text under several attacks: it must withstand them all."""
    return _Outcome(
        right=outcomes[0].right,
        told=np.logical_and.reduce([outcome.told for outcome in outcomes]),
        held=np.logical_and.reduce([outcome.held for outcome in outcomes]),
        queries=sum(outcome.queries for outcome in outcomes),
    )
