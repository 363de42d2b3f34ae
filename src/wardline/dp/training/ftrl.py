"""DP-FTRL: private training where rows come in an order that is not ours to draw, with noise correlated over the steps.

DP-SGD owes much of its accuracy to coins: whoever does not know which units joined a step learns less from it. Where
units come when they come (a stream, devices that are online at night, a pass over a tape), there are no such coins.
Independent noise then has to be several times as large. Correlated noise makes up for most of that.

One step reads the data once, through `ClippedSum`, and what it read leaves through `noisy_sum` alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from wardline.core import Claim, NoProgress, Progress, SecureRandom, Seeds, UsageError
from wardline.core.checks import at_least, positive, probability
from wardline.data import Examples
from wardline.dp.accounting import PoissonGaussian, calibrate_noise, epsilon_spent
from wardline.dp.training._checkpoint import State
from wardline.dp.training._fit import units_of
from wardline.dp.training.config import Unit, check_learning_rate, check_unit
from wardline.dp.training.defaults import CLIP_NORM, MOMENTUM
from wardline.dp.training.ftrl_matrix import Coefficients, best_bands, expected_error, sensitivity, square_root
from wardline.dp.training.gradients import ClippedSum, quiet
from wardline.dp.training.noise import noisy_sum
from wardline.dp.training.private import AVERAGED_SHARE
from wardline.models import Architecture, TrainedModel, build, torch_generator

MOST_BANDS = 32
"""The most bands that `default_ftrl_config` chooses: the gradients of so many steps are kept, noisy and not."""

_LARGEST_DRIFT = 0.3  # of a parameter by noise alone: standard deviation, root mean square over the steps
_SILENT = NoProgress()


@dataclass(frozen=True, slots=True, kw_only=True)
class FtrlConfig:
    """The parameters of DP-FTRL; `default_ftrl_config` derives them. All are public, as for `DpSgdConfig`.

    Attributes:
        epsilon: what the whole training run may cost, above 0.
        delta: the probability with which epsilon may not hold, in (0, 1); well below 1 / units.
        clip_norm: the most that one unit's gradient may measure in one step, in Euclidean norm; above 0.
        noise_multiplier: standard deviation of the noise over the most that a unit moves the whole run's encoded
            gradients by (`ftrl_matrix.sensitivity`, times clip_norm); above 0.
        epochs: how often every unit joins, at least 1.
        batches: steps of an epoch, at least 1. A unit joins the same one of them in every epoch.
        bands: over how many steps noise is correlated, from 1 (not at all) to the number of steps.
        learning_rate: how far a step goes, per unit of the mean clipped gradient; above 0, at most 1e30.
        momentum: share of the last step's direction that is kept, in [0, 1). Post-processing.
        unit: whose privacy is protected.
        max_rows_per_unit: the most rows that a unit may have, at least 1; 1 if the unit is a row.

    Raises:
        ValueError: for a figure out of range.
    """

    epsilon: float
    delta: float
    clip_norm: float
    noise_multiplier: float
    epochs: int
    batches: int
    bands: int
    learning_rate: float
    momentum: float = 0.0
    unit: Unit = "row"
    max_rows_per_unit: int = 1

    def __post_init__(self) -> None:
        positive("epsilon", self.epsilon)
        probability("delta", self.delta)
        positive("clip_norm", self.clip_norm)
        positive("noise_multiplier", self.noise_multiplier)
        at_least("epochs", self.epochs, 1)
        at_least("batches", self.batches, 1)
        if at_least("bands", self.bands, 1) > self.steps:
            raise ValueError(f"bands must be at most the number of steps, {self.steps}, not {self.bands}")
        check_learning_rate(self.learning_rate)
        if not 0 <= self.momentum < 1:
            raise ValueError(f"momentum must be at least 0 and below 1, not {self.momentum}")
        check_unit(self.unit, self.max_rows_per_unit)

    @property
    def steps(self) -> int:
        """How many noisy steps are taken."""
        return self.epochs * self.batches

    @property
    def coefficients(self) -> Coefficients:
        """Of the matrix that encodes the gradients."""
        return square_root(self.bands, momentum=self.momentum)

    @property
    def sensitivity(self) -> float:
        """The most that a unit moves the encoded gradients of the run by, for a clip_norm of 1."""
        return sensitivity(self.coefficients, steps=self.steps, separation=self.batches)

    @property
    def event(self) -> PoissonGaussian:
        """What the whole run costs: one Gaussian mechanism, without sampling."""
        return PoissonGaussian(sample_rate=1.0, noise_multiplier=self.noise_multiplier, steps=1)


def default_ftrl_config(
    *,
    n_units: int,
    epsilon: float,
    delta: float,
    epochs: int = 10,
    batches: int | None = None,
    unit: Unit = "row",
    max_rows_per_unit: int = 1,
) -> FtrlConfig:
    """Derive the settings of a run from what is public.

    With n units: sqrt(n) / 5 batches, from 5 to 100; the bands, up to `MOST_BANDS`, that leave the least noise; a
    learning rate that, times the clipping norm, is 1, or less where noise would move a parameter by more than
    about 0.3.

    Args:
        n_units: how many privacy units there are, at least 1; treated as public.
        epsilon: what training may cost, above 0.
        delta: in (0, 1).
        epochs: how often every unit joins, at least 1.
        batches: steps of an epoch, at least 1; None derives it.
        unit: whose privacy is protected.
        max_rows_per_unit: the most rows that a unit may have.

    Raises:
        ValueError: for a figure out of range, or an epsilon that no noise meets.
    """
    at_least("n_units", n_units, 1)
    at_least("epochs", epochs, 1)
    if batches is None:
        batches = round(min(100.0, max(5.0, math.sqrt(n_units) / 5)))
    steps = epochs * at_least("batches", batches, 1)
    bands = best_bands(steps=steps, separation=batches, momentum=MOMENTUM, most=MOST_BANDS)
    noise_multiplier = calibrate_noise(epsilon=epsilon, delta=delta, sample_rate=1.0, steps=1)
    error = expected_error(square_root(bands, momentum=MOMENTUM), steps=steps, separation=batches, momentum=MOMENTUM)
    drift = noise_multiplier * error * batches / n_units
    return FtrlConfig(
        epsilon=epsilon,
        delta=delta,
        clip_norm=CLIP_NORM,
        noise_multiplier=noise_multiplier,
        epochs=epochs,
        batches=batches,
        bands=bands,
        learning_rate=min(1.0, _LARGEST_DRIFT / drift) / CLIP_NORM,
        momentum=MOMENTUM,
        unit=unit,
        max_rows_per_unit=max_rows_per_unit,
    )


def train_ftrl(
    architecture: Architecture,
    examples: Examples,
    *,
    config: FtrlConfig,
    random: SecureRandom,
    seeds: Seeds,
    slots: npt.NDArray[np.int64] | None = None,
    progress: Progress = _SILENT,
) -> TrainedModel:
    """Train a classifier with differential privacy that does not rest on sampling at random.

    Unlike `train_dp`, it cannot be resumed: the next step depends on the last steps' gradients without noise, which
    must not be written anywhere. A run that was killed has spent its budget.

    Args:
        architecture: what to train.
        examples: the private rows.
        config: how; see `default_ftrl_config`.
        random: where noise comes from. It cannot be seeded.
        seeds: reproducible initial weights (stream ``dp.init``); they are public and touch no data.
        slots: for every unit the step of each epoch, from 0 to ``config.batches - 1``, that it joins. It must not
            depend on other units' rows: the day on which it came, say, and not its place in a sorted table. None
            lets every unit draw its own.
        progress: told of every step's number, and of nothing that was computed from the data.

    Returns:
        The average of the parameters after the last half of the steps.

    Raises:
        TypeError: if `random` is not a `SecureRandom`.
        ValueError: if examples, architecture and slots do not fit together.
        DataError: if a unit has more rows than the config says.
        UsageError: if the parameters overflow. That depends on noisy sums only, so telling costs no privacy.

    Guarantee:
        The parameters after all steps together, and the returned model, are (epsilon, delta)-differentially private
        for adding or removing one privacy unit with all its rows, if the noise was calibrated (`ftrl_claim` checks
        it) and `slots` are as described. Gradients may depend on everything published before (Denisov et al. 2022,
        theorem 2.1: for a lower triangular matrix, adaptivity costs nothing with Gaussian noise).

    References:
        Kairouz et al. 2021; Denisov et al. 2022; Choquette-Choo et al. 2023; see also `ftrl_matrix`.
    """
    if not isinstance(random, SecureRandom):
        raise TypeError("private training takes its randomness from SecureRandom only")
    units = units_of(architecture, examples, config.max_rows_per_unit)
    joining = _joining(slots, len(units), config.batches, random)
    network = build(architecture, generator=torch_generator(seeds, "dp.init"))
    state = State(network)
    clipped = ClippedSum(network, clip_norm=config.clip_norm)
    rows = clipped.prepare(examples.x, examples.y)
    release = Correlated(config, size=len(state.parameters), random=random)
    progress.start("training with differential privacy", config.steps)
    with quiet():
        while state.step < config.steps:
            chosen, position = units.rows(joining[state.step % config.batches])
            total = clipped(rows, chosen=chosen, units=position if config.unit == "person" else None)
            state.descend(
                release(total),
                scale=config.batches / len(units),  # the expected batch; the real one is private
                learning_rate=config.learning_rate,
                momentum=config.momentum,
                averaged_from=math.floor(config.steps * (1 - AVERAGED_SHARE)),
            )
            progress.advance(state.step)
    if not state.finite():
        raise UsageError(
            "training diverged: the parameters are no longer finite", hint="choose a smaller learning_rate"
        )
    progress.finish()
    return TrainedModel(
        architecture=architecture,
        parameters={name: value.numpy() for name, value in state.named(state.average).items()},
        features=examples.features,
        classes=examples.classes,
    )


class Correlated:
    """Gradient sums with noise that is correlated over the steps: C^-1 (C g + z), one step at a time.

    Args:
        config: of the run.
        size: how many numbers a sum has.
        random: where the noise comes from.

    Guarantee:
        The results of all `config.steps` calls together are the Gaussian mechanism with `config.noise_multiplier`
        for a unit that moves each sum by at most `config.clip_norm` and joins steps at least `config.batches` apart.
        What is published of a step is the encoded sum with independent noise, on the grid of `noisy_sum`; the rest
        is post-processing. Encoded sums before noise are kept for the length of the bands, in memory only.
    """

    def __init__(self, config: FtrlConfig, *, size: int, random: SecureRandom) -> None:
        self._coefficients = config.coefficients
        self._noise_multiplier = config.noise_multiplier * config.sensitivity
        self._clip_norm = config.clip_norm
        self._random = random
        self._left = config.steps
        # The last sums, newest first, without noise and with it.
        self._sums = np.zeros((config.bands - 1, size))
        self._noisy = np.zeros((config.bands - 1, size))

    def __call__(self, total: Tensor) -> Tensor:
        """The step's sum with its noise, 32-bit.

        Raises:
            ValueError: if it is called more often than there are steps.
        """
        if self._left == 0:
            raise ValueError("there is noise for no more steps than the config has")
        self._left -= 1
        exact, later = total.numpy().astype(np.float64), self._coefficients[1:]
        encoded = torch.from_numpy(exact + later @ self._sums)
        found = noisy_sum(
            {"": encoded}, noise_multiplier=self._noise_multiplier, clip_norm=self._clip_norm, random=self._random
        )[""]
        decoded = found.numpy().astype(np.float64) - later @ self._noisy
        for kept, newest in ((self._sums, exact), (self._noisy, decoded)):
            if len(kept):
                kept[1:] = kept[:-1].copy()
                kept[0] = newest
        return torch.from_numpy(decoded.astype(np.float32))


def ftrl_claim(config: FtrlConfig, *, n_units: int) -> Claim:
    """What `train_ftrl` with this config guarantees.

    Args:
        config: the run's parameters.
        n_units: how many privacy units are trained on; treated as public.

    Raises:
        ValueError: if the accountant finds that the run costs more than `config.epsilon`.
    """
    spent = epsilon_spent(delta=config.delta, sample_rate=1.0, noise_multiplier=config.noise_multiplier, steps=1)
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
            "anyone who sees the final model and all intermediate parameters, knows all other training data, the "
            "step that every unit joins and the whole procedure, and has any computing power, except against the "
            "cipher behind the noise"
        ),
        parameters={
            "epsilon": config.epsilon,
            "delta": config.delta,
            "epsilon_accounted": spent,
            "noise_multiplier": config.noise_multiplier,
            "sensitivity": config.sensitivity,
            "clip_norm": config.clip_norm,
            "epochs": config.epochs,
            "batches": config.batches,
            "bands": config.bands,
            "momentum": config.momentum,
            "unit": config.unit,
            "max_rows_per_unit": config.max_rows_per_unit,
            "units": n_units,
            "accountant": "PLD",
        },
        assumptions=(
            f"Neighbouring data sets differ by adding or removing one {who}; all others join the steps that they "
            "joined before.",
            "The data contract (columns, ranges, categories, classes) and all training settings are public and were "
            "not chosen by looking at this data.",
            "The number of units is public: the step size is derived from it.",
            "Rows of one person carry the same identifier, and different units are not copies of each other."
            if config.unit == "person"
            else "Each person has at most one row; for a person with k rows the guarantee is weaker: k times epsilon, "
            "and a delta that grows by more than that.",
            "Nobody watches the training process itself: its memory, its running time, its unnoised sums.",
            "Arithmetic is exact up to rounding that a margin of 0.1 % in the noise covers.",
            "Figures computed on held-out rows, the baseline without protection and this report are not covered.",
        ),
        reference="Denisov et al. 2022; Choquette-Choo et al. 2023; Kalinin and Lampert 2024 (DP-FTRL)",
    )


def _joining(
    slots: npt.NDArray[np.int64] | None, n_units: int, batches: int, random: SecureRandom
) -> list[npt.NDArray[np.int64]]:
    """The units of each batch, in ascending order."""
    if slots is None:
        # Drawn, not dealt out: a unit that is added or removed then changes nobody else's step.
        slots = np.minimum(random.uniform(n_units) * batches, batches - 1).astype(np.int64)
    if slots.shape != (n_units,) or slots.dtype.kind not in "iu":
        raise ValueError(f"slots must hold a whole number for each of the {n_units} units")
    if n_units and (int(slots.min()) < 0 or int(slots.max()) >= batches):
        raise ValueError(f"slots must lie between 0 and {batches - 1}")
    return [np.flatnonzero(slots == batch).astype(np.int64) for batch in range(batches)]
