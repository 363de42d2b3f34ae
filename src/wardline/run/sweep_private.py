"""A sweep on the protected data itself: several trainings in secret, one outcome in public, one charge for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from wardline.core import DataError, Progress, SecureRandom, Seeds, digest_value
from wardline.data import Examples, bounded_rows
from wardline.dp import Ledger, Limit, train_dp
from wardline.dp.accounting import ApproximateDp, PoissonGaussian
from wardline.dp.accounting.renyi import renyi
from wardline.dp.ledger import PlannedRelease
from wardline.dp.mechanisms import discrete_gaussian
from wardline.dp.tuning import PrivateSelection, select_privately, selection_cost
from wardline.plan import Plan
from wardline.policy import LoadedPolicy
from wardline.run.inputs import Inputs, Selection, account_of
from wardline.run.sweep import Floor, plan_at
from wardline.run.workspace import Computed, Workspace

ORDERS = (1.5, *(float(order) for order in range(2, 129)), 192.0, 256.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What a sweep on the protected data will be charged.

    Attributes:
        epsilon, delta: of the whole sweep.
        sigma: standard deviation of the noise on the counts of held-out rows.
    """

    epsilon: float
    delta: float
    sigma: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """What a sweep on the protected data publishes.

    Attributes:
        floor: what was asked for.
        epsilon: of the best training: the lowest epsilon among those that met the floor, or the one with the highest
            accuracy if none did; None if, by chance, nothing was trained.
        accuracy: its accuracy on held-out rows, with noise; the best of several, and so a flattering figure.
        meets: whether the noisy accuracy reaches the floor.
        cost: what was charged.
    """

    floor: Floor
    epsilon: float | None
    accuracy: float | None
    meets: bool
    cost: Cost


def private_cost(
    loaded: LoadedPolicy, inputs: Inputs, *, epsilons: Sequence[float], selection: PrivateSelection
) -> Cost:
    """What `sweep_private` will be charged: known before anything is computed.

    A unit is held out or trained on, by a coin that looks at nothing. A single run thus costs the larger of what its
    training and what its noisy counts cost, at each order, and the counts are given as much noise as makes
    theirs the smaller one. Which epsilon is tried is drawn without looking, so the largest one counts.
    """
    plans = _plans(loaded, inputs, epsilons)
    curves = [
        [
            renyi(
                PoissonGaussian(
                    sample_rate=plan.training.sample_rate,
                    noise_multiplier=plan.training.noise_multiplier,
                    steps=plan.training.steps,
                ),
                order,
            )
            for order in ORDERS
        ]
        for plan in plans.values()
    ]
    worst = np.max(curves, axis=0)
    # Gaussian noise on two counts, each changed by at most `rows`: rho = rows² / sigma² (Bun and Steinke 2016).
    rho = float(np.min(worst / np.asarray(ORDERS)))
    sigma = _most_rows(loaded) / np.sqrt(rho)
    delta = next(iter(plans.values())).training.delta
    epsilon = selection_cost(ORDERS, worst, selection=selection, delta=delta)
    return Cost(epsilon=epsilon, delta=delta, sigma=float(sigma))


def sweep_private(
    loaded: LoadedPolicy,
    inputs: Inputs,
    *,
    floor: Floor,
    epsilons: Sequence[float],
    selection: PrivateSelection,
    ledger: Ledger,
    workspace: Workspace,
    progress: Progress,
) -> Chosen:
    """Train a secret number of times at epsilons drawn at random, and give out the best outcome.

    Args:
        loaded: the policy.
        inputs: the protected rows.
        floor: what is to be reached.
        epsilons: those that are drawn from.
        selection: how many trainings are to be expected.
        ledger: what is charged, before the first training.
        workspace: keeps the outcome. A second call with the same arguments gives it again and charges nothing.
        progress: told that something is going on, and not how often.

    Raises:
        BudgetError: if the charge would exceed the data set's limit; nothing was computed then.
        DataError: if there are too few rows to hold some out.

    Guarantee: (epsilon, delta)-differential privacy with the figures of `private_cost`, add or remove one unit,
        towards whoever sees the outcome; not towards somebody who measures how long it took. The number of units
        counts as public.

    References:
        Papernot and Steinke 2022, theorem 6.
    """
    cost = private_cost(loaded, inputs, epsilons=epsilons, selection=selection)
    budget = loaded.policy.data.budget

    def compute(key: str) -> Computed:
        release_id = ledger.latest_attempt_id(digest_value({"run": workspace.run_id, "stage": key}))
        if ledger.sealed(release_id) is not None:
            release_id = ledger.next_attempt_id(release_id)  # its outcome is lost; another one is another release
        unit = loaded.policy.data.unit
        name = "row" if unit == "row" else unit.column
        ledger.charge(
            PlannedRelease(
                release_id=release_id,
                dataset=account_of(loaded, inputs.sha256),
                unit=name,
                events=(ApproximateDp(epsilon=cost.epsilon, delta=cost.delta),),
                description=f"{loaded.policy.project}: sweep over epsilon for {floor.metric} {floor.value:g}",
            ),
            limit=Limit(epsilon=budget.epsilon, delta=budget.delta) if budget else None,
        )
        run = _single_run(loaded, inputs, floor, epsilons, cost)
        best = select_privately(run, selection=selection, random=SecureRandom())
        value = {"epsilon": None, "accuracy": None} if best.result is None else best.result
        ledger.seal(release_id, digest_value(value))
        return value, {}

    basis = {
        "table": inputs.sha256,
        "policy": loaded.policy.to_json(),
        "floor": floor,
        "epsilons": sorted(set(epsilons)),
        "selection": selection,
    }
    progress.start("private sweep", 0)
    value = workspace.stage("sweep-private", basis, compute).value
    progress.finish("")
    accuracy = value["accuracy"]
    return Chosen(
        floor=floor,
        epsilon=value["epsilon"],
        accuracy=accuracy,
        meets=accuracy is not None and accuracy >= floor.value,
        cost=cost,
    )


def _plans(loaded: LoadedPolicy, inputs: Inputs, epsilons: Sequence[float]) -> dict[float, Plan]:
    """The plan of each epsilon, made for the expected number of units to train on: coins decide the actual one."""
    units = inputs.examples.n_units
    held_out = round(units * loaded.policy.data.holdout)
    expected = Selection(
        train=np.flatnonzero(inputs.examples.unit >= held_out), holdout=np.flatnonzero(inputs.examples.unit < held_out)
    )
    if not (len(expected.train) and len(expected.holdout)):
        raise DataError("there are too few units to hold some out", hint="give more data, or change data.holdout")
    return {epsilon: plan_at(loaded, inputs, expected, epsilon) for epsilon in sorted(set(epsilons))}


def _most_rows(loaded: LoadedPolicy) -> int:
    unit = loaded.policy.data.unit
    return 1 if unit == "row" else unit.max_rows


def _single_run(
    loaded: LoadedPolicy, inputs: Inputs, floor: Floor, epsilons: Sequence[float], cost: Cost
) -> Callable[[], tuple[dict[str, float | None], float]]:
    """One private run: an epsilon by lot, fresh coins for the split, a training, a noisy accuracy."""
    plans = _plans(loaded, inputs, epsilons)
    ladder = tuple(plans)
    random = SecureRandom()
    seeds = Seeds(loaded.policy.evidence.seed).child("sweep-private")

    def run() -> tuple[dict[str, float | None], float]:
        epsilon = ladder[int(random.uniform(1)[0] * len(ladder))]
        plan = plans[epsilon]
        apart = random.bernoulli(inputs.examples.n_units, loaded.policy.data.holdout)[inputs.examples.unit]
        parts = [_bounded(inputs.examples, rows, loaded, random) for rows in (~apart, apart)]
        model = train_dp(plan.architecture, parts[0], config=plan.training, random=random, seeds=seeds)
        right = int(np.count_nonzero(model.predict(parts[1].x) == parts[1].y)) if len(parts[1]) else 0
        noise = discrete_gaussian(2, sigma=cost.sigma, random=random)
        accuracy = min(max((right + int(noise[0])) / max(len(parts[1]) + int(noise[1]), 1), 0.0), 1.0)
        # Whoever meets the floor beats whoever does not; among those who meet it the lowest epsilon wins.
        score = 1 + 1 / (1 + epsilon) if accuracy >= floor.value else accuracy
        return {"epsilon": epsilon, "accuracy": accuracy}, score

    return run


def _bounded(examples: Examples, rows: npt.NDArray[np.bool_], loaded: LoadedPolicy, random: SecureRandom) -> Examples:
    part = examples.take(np.flatnonzero(rows))
    return part.take(bounded_rows(part, _most_rows(loaded), random=random))
