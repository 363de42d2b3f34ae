"""A sweep: the lowest epsilon at which a model is still good enough.

Looking for it on the protected data itself reveals something about that data with every training that is looked at.
So a sweep either uses other rows, which nobody has to protect, or trains in secret, publishes one outcome and
charges for it (`run.sweep_private`).
"""

from __future__ import annotations

import dataclasses
import datetime
import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import stats

from wardline.core import Interval, Progress, SecureRandom, Seeds, UsageError
from wardline.dp import train_dp
from wardline.plan import Plan, resolve
from wardline.policy import LoadedPolicy, Policy
from wardline.run.inputs import Inputs, Selection, facts_of, select
from wardline.run.workspace import Computed, Workspace

EPSILONS = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
"""Where a sweep looks unless told otherwise."""

LEVEL = 0.95
"""Confidence of the intervals."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Floor:
    """What the model must reach.

    Attributes:
        metric: ``accuracy``, the share of held-out rows whose class is predicted correctly.
        value: in (0, 1).
    """

    metric: Literal["accuracy"]
    value: float

    @classmethod
    def parse(cls, text: str) -> Floor:
        """Read ``accuracy=0.84``.

        Raises:
            UsageError: for another metric or something that is no share.
        """
        metric, _, figure = text.partition("=")
        try:
            value = float(figure)
        except ValueError:
            value = math.nan
        if metric != "accuracy" or not 0 < value < 1:
            raise UsageError(
                f"{text!r} is no floor", where="--floor", hint="write accuracy=0.84, with a share between 0 and 1"
            )
        return cls(metric="accuracy", value=value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """What was found at one epsilon.

    Attributes:
        epsilon: the epsilon of each training.
        accuracy: mean over the trainings.
        interval: of the expected accuracy, over splits, initial weights and noise.
        accuracies: of each training.
        meets: whether the interval's lower end reaches the floor.
    """

    epsilon: float
    accuracy: float
    interval: Interval
    accuracies: tuple[float, ...]
    meets: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Swept:
    """The outcome of a sweep over public rows.

    Attributes:
        floor: what was asked for.
        epsilon: the lowest epsilon that meets it, together with all larger ones that were tried; None if none does.
        tried: what was found, by falling epsilon.
        rows: rows that each training had.
    """

    floor: Floor
    epsilon: float | None
    tried: tuple[Tried, ...]
    rows: int


def sweep_public(
    loaded: LoadedPolicy,
    public: Inputs,
    *,
    floor: Floor,
    epsilons: Sequence[float],
    repeats: int,
    workspace: Workspace,
    progress: Progress,
) -> Swept:
    """Train on public rows at falling epsilons until the floor is missed.

    Epsilons are tested from the largest downwards, each at the same confidence, and the search ends at the first that
    fails: a fixed sequence, so the whole answer has that confidence, however many epsilons there are. One
    more is tried beyond it, for the chart.

    Args:
        loaded: the policy; of its data section only the contract, the unit and the share held out matter here.
        public: rows that nobody has to protect.
        floor: what must be reached.
        epsilons: where to look.
        repeats: trainings at each epsilon, at least 2; each with its own split, initial weights and noise.
        workspace: keeps each training's figure, so that an interrupted sweep goes on.
        progress: told about trainings.

    Raises:
        PolicyError: if the policy does not fit these rows.
        UsageError: for fewer than two repeats.

    References:
        Nadeau and Bengio 2003, section 4 (variance over resampled splits); Maurer, Hothorn and Lehmacher 1995 (fixed
        sequences of tests).
    """
    if repeats < 2:
        raise UsageError("an interval needs two trainings at least", where="--repeats", hint="give 3 or more")
    tried: list[Tried] = []
    found: float | None = None
    missed = 0
    for epsilon in sorted(set(epsilons), reverse=True):
        accuracies = []
        for repeat in range(repeats):
            key = {"public": public.sha256, "policy": loaded.policy.to_json(), "epsilon": epsilon, "repeat": repeat}
            progress.start(f"epsilon {epsilon:g}, training {repeat + 1} of {repeats}", 0)
            stage = workspace.stage(
                f"sweep-{epsilon:g}-{repeat}",
                key,
                functools.partial(_train, loaded, public, epsilon, repeat, progress),
            )
            progress.finish("kept" if stage.reused else "")
            accuracies.append(float(stage.value["correct"] / stage.value["held_out"]))
            sizes = int(stage.value["rows"]), int(stage.value["held_out"])
        one = _tried(epsilon, accuracies, floor, rows=sizes[0], held_out=sizes[1])
        tried.append(one)
        if one.meets and not missed:
            found = epsilon
        elif not one.meets:
            missed += 1
        if missed == 2:
            break
    return Swept(floor=floor, epsilon=found, tried=tuple(tried), rows=sizes[0])


def at_epsilon(loaded: LoadedPolicy, epsilon: float) -> LoadedPolicy:
    """The policy with another epsilon for its training.

    Raises:
        PolicyError: if the budget or a rule forbids it.
    """
    value = loaded.policy.to_json()
    for protection in value["protections"]:
        if protection["kind"] == "dp-sgd":
            protection["epsilon"] = epsilon
    # The budget limits releases; a rehearsal on public rows is none.
    value["data"].pop("budget", None)
    return dataclasses.replace(loaded, policy=Policy.from_json(value))


def plan_at(loaded: LoadedPolicy, inputs: Inputs, selection: Selection, epsilon: float) -> Plan:
    """The plan for a training at this epsilon on these rows."""
    changed = at_epsilon(loaded, epsilon)
    return resolve(changed, facts_of(changed, inputs, selection), today=datetime.datetime.now(datetime.UTC).date())


def _train(loaded: LoadedPolicy, public: Inputs, epsilon: float, repeat: int, progress: Progress, _: str) -> Computed:
    seeds = Seeds(loaded.policy.evidence.seed).child(f"sweep-{repeat}")
    selection = select(loaded, public, seeds=seeds)
    plan = plan_at(loaded, public, selection, epsilon)
    train, held_out = public.examples.take(selection.train), public.examples.take(selection.holdout)
    model = train_dp(
        plan.architecture, train, config=plan.training, random=SecureRandom(), seeds=seeds, progress=progress
    )
    right = int(np.count_nonzero(model.predict(held_out.x) == held_out.y))
    return {"correct": right, "held_out": len(held_out), "rows": len(train)}, {}


def _tried(epsilon: float, accuracies: list[float], floor: Floor, *, rows: int, held_out: int) -> Tried:
    mean = float(np.mean(accuracies))
    repeats = len(accuracies)
    # Splits overlap, so the figures are not independent: the correction adds the share of the rows that are held out.
    spread = math.sqrt(float(np.var(accuracies, ddof=1)) * (1 / repeats + held_out / rows))
    reach = float(stats.t.ppf((1 + LEVEL) / 2, repeats - 1)) * spread
    interval = Interval(
        low=max(0.0, mean - reach), high=min(1.0, mean + reach), level=LEVEL, method="t, corrected for resampling"
    )
    return Tried(
        epsilon=epsilon,
        accuracy=mean,
        interval=interval,
        accuracies=tuple(accuracies),
        meets=interval.low >= floor.value,
    )
