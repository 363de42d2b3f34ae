"""Rows read off the gradient of a first dense layer: no search, and exact where nothing was added."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from torch import nn

from wardline.attacks.protocol.ledger import BudgetSpent
from wardline.attacks.protocol.result import AttackResult, Budget
from wardline.attacks.protocol.spec import InputSpec
from wardline.attacks.protocol.target import Access, Target
from wardline.attacks.reconstruction.leakage import About, Found, attack_gradients
from wardline.attacks.reconstruction.sharing import GradientData, Gradients
from wardline.core import Seeds
from wardline.models.predictor import Inputs

Numbers = npt.NDArray[np.float64]

_SWEEPS = 30
_LEAST = 1e-9  # of a bias's gradient, relative to the largest one
_OUTSIDE = 0.02  # of the range: how far a quotient may leave it by rounding


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstLayer:
    """What a first dense layer's gradient says of the rows it was computed on.

    The gradient by the weights of unit i is the sum over the batch's rows of d_i x, that by its bias the sum of the
    d_i. For one row their quotient is the row itself. For several rows it is that for every unit that is active on one
    of them alone; quotients of other units are mixtures, which mostly still lie within the range, so all quotients
    within it are candidates, and the result counts the true rows among them.

    The attack is adapted to defences. With noise or missing entries on the gradient of one row, all units are fitted at
    once: weights and bias together are d (x, 1), a matrix of rank one, whose nearest one (on the entries that were
    shared) is the maximum-likelihood estimate under Gaussian noise; public rows serve as the prior. Clipping scales d
    and changes nothing.

    Attributes:
        success_db: from which PSNR on a row counts as reconstructed.

    References:
        Phong, Aono, Hayashi, Wang, Moriai 2018, section 3; Geiping et al. 2020, proposition 3.1; for batches Fowl et
        al. 2022 and Boenisch et al. 2023, who also plant weights that isolate more rows.
    """

    success_db: float = 20.0

    @property
    def id(self) -> str:
        """``reconstruction.first_layer``."""
        return "reconstruction.first_layer"

    @property
    def needs(self) -> Access:
        """White box: who reads gradients knows which entry is which."""
        return Access.WHITE_BOX

    @property
    def paper(self) -> str:
        """Author, year, section."""
        return "Phong et al. 2018, section 3; Geiping et al. 2020, proposition 3.1"

    def run(self, target: Target, data: GradientData, budget: Budget, seed: int) -> AttackResult:
        """Reconstruct and judge; see `wardline.attacks.reconstruction.leakage.attack_gradients`."""
        about = About(
            attack=self.id,
            paper=self.paper,
            knowledge="the gradient, what was done to it, and which layer comes first",
            success_db=self.success_db,
        )
        return attack_gradients(about, self._search, target, data, budget=budget, seed=seed)

    def _search(self, target: Target, module: nn.Module, data: GradientData, seeds: Seeds) -> Found:
        del seeds
        spec = target.spec
        if not isinstance(spec, InputSpec):
            raise TypeError("inputs must be numeric")
        weight, bias = first_dense(module, spec.features)
        batches, rows = data.y.shape
        found: list[Inputs] = []
        for one in data.gradients:
            try:
                target.ledger.charge(0)
            except BudgetSpent:
                break
            found.append(self._rows(one, weight, bias, rows, data, spec))
        complete = np.arange(batches) < len(found)
        empty = np.zeros((0, *spec.shape), dtype=np.float32)
        return Found(
            rows=[*found, *[empty] * (batches - len(found))],
            complete=complete,
            details={"layer": weight, "candidates_of_a_batch": float(np.mean([len(one) for one in found] or [0]))},
        )

    def _rows(
        self, gradients: Gradients, weight: str, bias: str, rows: int, data: GradientData, spec: InputSpec
    ) -> Inputs:
        by_weight, by_bias = (gradients[name].astype(np.float64) for name in (weight, bias))
        low, high = (np.asarray(end, dtype=np.float64).ravel() for end in (spec.low, spec.high))
        if rows == 1:
            found = one_row(by_weight, by_bias, shared=data.defence.kept == 1)[None]
            if data.defence.noise:
                found = _weighed(np.clip(found, low, high), by_bias, data, low, high)
        else:
            usable = np.abs(by_bias) > max(_LEAST * np.abs(by_bias).max(), 2.0 * data.defence.noise)
            found = by_weight[usable] / by_bias[usable, None]
            slack = _OUTSIDE * (high - low) + data.defence.noise / np.maximum(np.abs(by_bias[usable, None]), 1e-30) * 4
            found = found[((found >= low - slack) & (found <= high + slack)).all(axis=1)]
        return np.clip(found, low, high).astype(np.float32).reshape(len(found), *spec.shape)


def _weighed(found: Numbers, by_bias: Numbers, data: GradientData, low: Numbers, high: Numbers) -> Numbers:
    """The row drawn towards the mean of public rows, the more the less of the gradient rises out of the noise."""
    noise = data.defence.noise
    signal = max(float((by_bias**2).sum()) - len(by_bias) * noise**2, 0.0)
    if data.prior is None:
        mean, variance = (low + high) / 2, (high - low) ** 2 / 12
    else:
        public = data.prior.reshape(len(data.prior), -1).astype(np.float64)
        mean, variance = public.mean(axis=0), np.maximum(public.var(axis=0), _LEAST)
    weight = signal * variance / (signal * variance + noise**2)
    drawn: Numbers = mean + weight * (found - mean)
    return drawn


def one_row(by_weight: Numbers, by_bias: Numbers, *, shared: bool = True) -> Numbers:
    """The row behind the gradient of a batch of one.

    Args:
        by_weight: gradient by the weights, [units, inputs].
        by_bias: gradient by the biases, [units].
        shared: whether all entries were shared; otherwise those that are 0 are taken to be missing.

    Returns:
        [inputs]; zeros where no unit was active, since then nothing was said.
    """
    both = np.concatenate([by_weight, by_bias[:, None]], axis=1)
    if not both.any():
        return np.zeros(by_weight.shape[1])
    _, _, right = np.linalg.svd(both, full_matrices=False)
    row: Numbers = right[0]
    if not shared:
        seen = both != 0
        for _ in range(_SWEEPS):  # alternating least squares on the entries that there are
            left = _fitted(both, seen, row)
            row = _fitted(both.T, seen.T, left)
    last = row[-1]
    if abs(last) < 1e-12 * np.abs(row).max():
        return np.zeros(by_weight.shape[1])
    found: Numbers = row[:-1] / last
    return found


def _fitted(table: Numbers, seen: npt.NDArray[np.bool_], other: Numbers) -> Numbers:
    """The factor that, with the other one, is nearest to the seen entries."""
    energy = seen @ other**2
    products = (table * seen) @ other
    return np.where(energy > 0, products / np.where(energy > 0, energy, 1.0), 0.0)


def first_dense(module: nn.Module, features: int) -> tuple[str, str]:
    """Names of weight and bias of the first layer, if that is a dense one with a bias that reads the whole input.

    Raises:
        ValueError: if it is something else.
    """
    names = list(dict(module.named_parameters()))
    for name, part in module.named_modules():
        if isinstance(part, nn.Linear) and part.in_features == features and part.bias is not None:
            prefix = f"{name}." if name else ""
            if names[0] == f"{prefix}weight":
                return f"{prefix}weight", f"{prefix}bias"
    raise ValueError("the first layer is no dense layer with a bias that reads the whole input")
