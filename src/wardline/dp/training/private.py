"""DP-SGD: Poisson sampling, clipping per privacy unit, Gaussian noise from a CSPRNG.

One step reads the data once, through `ClippedSum`, and what it read leaves through `noisy_sum` alone. Momentum,
averaging, checkpoints and progress work on what came out of there.
"""

from __future__ import annotations

import math
from typing import Protocol

from torch import Tensor

from wardline.core import Claim, NoProgress, Progress, SecureRandom, Seeds, UsageError, digest_value
from wardline.data import Examples
from wardline.dp.accounting import epsilon_spent
from wardline.dp.training._checkpoint import State
from wardline.dp.training._fit import units_of
from wardline.dp.training.config import DpSgdConfig
from wardline.dp.training.gradients import ROWS_AT_ONCE, ClippedSum, quiet
from wardline.dp.training.noise import noisy_sum
from wardline.dp.training.sampling import PoissonSampler, UnitRows
from wardline.models import Architecture, Network, TrainedModel, architecture_to_json, build, torch_generator

AVERAGED_SHARE = 0.5
"""The share of steps, the last ones, whose parameters are averaged into the released ones (Polyak and Juditsky 1992).

Averaging noisy iterates costs no privacy, since every iterate is covered, and removes much of the last one's noise.
"""

_CHECKPOINTS = 20  # a run writes about as many
_SILENT = NoProgress()


class CheckpointStore(Protocol):
    """Keeps the newest checkpoint of one training run, out of reach of anybody who may not see the model.

    An old checkpoint put back makes training go on from there a second time. The steps in between are then taken
    twice with fresh noise; whoever sees both continuations has seen more steps than were accounted for.
    """

    def load(self) -> bytes | None:
        """The newest checkpoint, or None if there is none."""

    def save(self, step: int, data: bytes) -> None:
        """Replace the checkpoint, wholly or not at all, by the one after `step` steps."""


def train_dp(
    architecture: Architecture,
    examples: Examples,
    *,
    config: DpSgdConfig,
    random: SecureRandom,
    seeds: Seeds,
    checkpoints: CheckpointStore | None = None,
    progress: Progress = _SILENT,
    rows_at_once: int = ROWS_AT_ONCE,
) -> TrainedModel:
    """Train a classifier with differential privacy.

    Args:
        architecture: what to train.
        examples: the private rows.
        config: how; see `default_config`.
        random: where coins and noise come from. It cannot be seeded, so no two runs give the same model.
        seeds: reproducible initial weights (stream ``dp.init``); they are public and touch no data.
        checkpoints: where to keep checkpoints and to go on from; None keeps none.
        progress: told of every step's number, and of nothing that was computed from the data.
        rows_at_once: the most rows that pass the network at once, at least 1. A larger batch goes through in pieces
            that are added up before the noise: this bounds memory and changes nothing else.

    Returns:
        The average of the parameters after the last `AVERAGED_SHARE` of the steps.

    Raises:
        TypeError: if `random` is not a `SecureRandom`.
        ValueError: if examples and architecture do not fit together.
        DataError: if a unit has more rows than the config says, or rows share a unit although the unit is a row.
        IntegrityError: if the checkpoint is damaged or belongs to another run.
        UsageError: if the parameters overflow. That depends on noisy sums only, so telling costs no privacy.

    Guarantee:
        The parameters after all steps together, every checkpoint and the returned model are (epsilon, delta)-
        differentially private for adding or removing one privacy unit with all its rows, if `config` was
        calibrated (`epsilon_spent` is at most epsilon; `training_claim` checks it) and its assumptions hold. A
        run that was killed and resumed takes `config.steps` steps on the path to its model, like one that was
        not: steps after the last checkpoint are lost unseen and taken again with fresh coins and fresh noise.

    References:
        Abadi et al. 2016, algorithm 1; McMahan et al. 2018 (clipping all of a person's rows together).
    """
    if not isinstance(random, SecureRandom):
        raise TypeError("private training takes its randomness from SecureRandom only")
    units = units_of(architecture, examples, config.max_rows_per_unit)
    network = build(architecture, generator=torch_generator(seeds, "dp.init"))
    state = State(network)
    look = _Look(network, examples, units, config=config, random=random, rows_at_once=rows_at_once)
    run = _run_digest(architecture, examples, config) if checkpoints else ""
    saved = checkpoints.load() if checkpoints else None
    if saved is not None:
        state.read(saved, run=run, steps=config.steps)
    every = math.ceil(config.steps / _CHECKPOINTS)
    averaged_from = math.floor(config.steps * (1 - AVERAGED_SHARE))
    # Divided by the expected number of units. The number that was sampled is private, and an empty sample, which
    # happens, must not be told from a full one: it gets its noise and its step like any other.
    expected = config.sample_rate * len(units)
    progress.start("training with differential privacy", config.steps)
    progress.advance(state.step)
    with quiet():
        while state.step < config.steps:
            state.descend(
                look(),
                scale=1.0 / expected,
                learning_rate=config.learning_rate,
                momentum=config.momentum,
                averaged_from=averaged_from,
            )
            if state.step % every == 0 or state.step == config.steps:
                if not state.finite():
                    raise UsageError(
                        "training diverged: the parameters are no longer finite", hint="choose a smaller learning_rate"
                    )
                if checkpoints:
                    checkpoints.save(state.step, state.to_bytes(run))
            # The number of the step and nothing else: a loss or a batch's size would be an unprotected release.
            progress.advance(state.step)
    progress.finish()
    return TrainedModel(
        architecture=architecture,
        parameters={name: value.numpy() for name, value in state.named(state.average).items()},
        features=examples.features,
        classes=examples.classes,
    )


def training_claim(config: DpSgdConfig, *, n_units: int) -> Claim:
    """What `train_dp` with this config guarantees.

    Args:
        config: the run's parameters.
        n_units: how many privacy units are trained on; treated as public.

    Raises:
        ValueError: if the accountant finds that the run costs more than `config.epsilon`.
    """
    spent = epsilon_spent(
        delta=config.delta,
        sample_rate=config.sample_rate,
        noise_multiplier=config.noise_multiplier,
        steps=config.steps,
    )
    if spent > config.epsilon:
        raise ValueError(
            f"this run would cost an epsilon of {spent:.6g}, more than the {config.epsilon:.6g} that it claims"
        )
    who = "row" if config.unit == "row" else f"person with up to {config.max_rows_per_unit} rows"
    odds = math.exp(min(config.epsilon, 700.0))
    return Claim(
        id="dp.training",
        quantity="epsilon",
        value=config.epsilon,
        direction="at_most",
        statement=(
            f"Whoever sees the model can hardly tell whether any one {who} was trained on: taking part multiplies "
            f"the odds of any conclusion by at most {odds:.4g}, but for a probability of {config.delta:g}."
        ),
        adversary=(
            "anyone who sees the final model and all intermediate parameters, knows all other training data and "
            "the whole procedure, and has any computing power, except against the cipher behind the noise"
        ),
        parameters={
            "epsilon": config.epsilon,
            "delta": config.delta,
            "epsilon_accounted": spent,
            "noise_multiplier": config.noise_multiplier,
            "clip_norm": config.clip_norm,
            "sample_rate": config.sample_rate,
            "steps": config.steps,
            "unit": config.unit,
            "max_rows_per_unit": config.max_rows_per_unit,
            "units": n_units,
            "accountant": "PLD",
        },
        assumptions=(
            f"Neighbouring data sets differ by adding or removing one {who}.",
            "The data contract (columns, ranges, categories, classes) and all training settings are public and were "
            "not chosen by looking at this data.",
            "The number of units is public: step size and sampling are derived from it.",
            "Rows of one person carry the same identifier, and different units are not copies of each other."
            if config.unit == "person"
            else "Each person has at most one row; for a person with k rows the guarantee is weaker: k times epsilon, "
            "and a delta that grows by more than that.",
            "Nobody watches the training process itself: its memory, its running time, its unnoised sums.",
            "Arithmetic is exact up to rounding that a margin of 0.1 % in the noise covers.",
            "Figures computed on held-out rows, the baseline without protection and this report are not covered.",
        ),
        reference=(
            "Abadi et al. 2016 (DP-SGD); Koskela, Jaelkoe and Honkela 2020, and Doroshenko et al. 2022 (privacy loss "
            "distributions)"
        ),
    )


def _run_digest(architecture: Architecture, examples: Examples, config: DpSgdConfig) -> str:
    """Stands for all that must not change between a checkpoint and going on from it.

    The rows are left out on purpose. Their digest would lie in the checkpoint without protection, and whoever
    knows all rows but one could try candidates for that one against it.
    """
    return digest_value(
        {
            "architecture": architecture_to_json(architecture),
            "config": config,
            "features": examples.features,
            "classes": examples.classes,
            "units": examples.n_units,
        }
    )


class _Look:
    """The one place where a step meets the data; what a call returns is already private."""

    def __init__(
        self,
        network: Network,
        examples: Examples,
        units: UnitRows,
        *,
        config: DpSgdConfig,
        random: SecureRandom,
        rows_at_once: int,
    ) -> None:
        self._clipped = ClippedSum(network, clip_norm=config.clip_norm, rows_at_once=rows_at_once)
        self._rows = self._clipped.prepare(examples.x, examples.y)
        self._units = units
        self._sampler = PoissonSampler(len(units), sample_rate=config.sample_rate, random=random)
        self._config = config
        self._random = random

    def __call__(self) -> Tensor:
        config = self._config
        chosen, position = self._units.rows(self._sampler.draw())
        total = self._clipped(self._rows, chosen=chosen, units=position if config.unit == "person" else None)
        # All parameters in one vector: what a step costs beside its arithmetic is the number of calls.
        return noisy_sum(
            {"": total}, noise_multiplier=config.noise_multiplier, clip_norm=config.clip_norm, random=self._random
        )[""]
