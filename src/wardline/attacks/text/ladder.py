"""What each defence buys: accuracy before an attack, under it, and under the attack that knows the defence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from wardline.attacks.intervals import clopper_pearson
from wardline.attacks.protocol.attack import Attack
from wardline.attacks.protocol.examples import Labelled
from wardline.attacks.protocol.result import Budget
from wardline.attacks.protocol.spec import TextSpec
from wardline.attacks.protocol.target import Target
from wardline.core import Interval, Verdict
from wardline.models.predictor import Predictor, labels_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Rung:
    """One defence under one attack.

    Attributes:
        pipeline: the defence.
        attack: the attack.
        n: texts.
        clean: share of the texts that it gets right unprovoked.
        transferred: share that it gets right after the attack on the undefended model, which knows nothing of it.
        adapted: share that it gets right after the attack on itself: the figure that counts.
        adapted_interval: its exact interval.
        queries: what the adapted attack asked.
        verdict: of the adapted attack.
    """

    pipeline: str
    attack: str
    n: int
    clean: float
    transferred: float
    adapted: float
    adapted_interval: Interval
    queries: int
    verdict: Verdict


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

    Args:
        pipelines: predictors by name; the first is the undefended one.
        attacks: attacks by name.
        data: texts with their true classes.
        budget: of each attack on each pipeline.
        seed: of each attack.
        spec: of the texts.

    Raises:
        ValueError: if there is no pipeline, or a budget ends before every text was tried: half a row would be read as a
            whole one.
    """
    if not pipelines:
        raise ValueError("there is no pipeline")
    rungs = []
    for attack_name, attack in attacks.items():
        blind = None
        for name, predictor in pipelines.items():
            target = Target(predictor, spec or TextSpec(), name=name)
            result = attack.run(target, data, budget, seed)
            if any(check.name == "budget" and check.outcome is not Verdict.PASS for check in result.checks):
                raise ValueError(f"the budget ended before {attack_name} was through with {name}")
            right, found = (np.asarray(result.examples[key], dtype=np.bool_) for key in ("right", "found"))
            if blind is None:
                blind = result.examples["adversarial"]
            told = labels_of(predictor.answer(blind), predictor.gives)
            held = int((right & ~found).sum())
            rungs.append(
                Rung(
                    pipeline=name,
                    attack=attack_name,
                    n=len(data),
                    clean=float(right.mean()),
                    transferred=float((told == data.y).mean()),
                    adapted=held / len(data),
                    adapted_interval=clopper_pearson(held, len(data)),
                    queries=result.queries,
                    verdict=result.verdict,
                )
            )
    return tuple(rungs)
