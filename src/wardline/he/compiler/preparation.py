"""From a trained model to what ciphertexts are asked to compute: read, fitted, simplified, scaled, calibrated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from wardline.core import UsageError
from wardline.core.checks import probability
from wardline.core.extras import need
from wardline.he.compiler.calibration import (
    Calibration,
    InputScaling,
    Policy,
    balanced,
    calibrate,
    unit_inputs,
)
from wardline.he.compiler.convolution import Values
from wardline.he.compiler.depth import LayerDepth, depth_of
from wardline.he.compiler.merging import simplify
from wardline.he.compiler.polynomials import Fit, Method, fit_activations
from wardline.he.compiler.precision import Precision, predict_precision
from wardline.he.compiler.program import Gives, Program
from wardline.he.compiler.quantised import Bits, Noise, quantise


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """How far the simulated answers are from the plain ones.

    Attributes:
        rows: how many were compared.
        same: of how many the decision is the same; None where outputs decide nothing.
        typical_error: root mean square over all outputs.
        largest_error: the most that an output is off.
    """

    rows: int
    same: int | None
    typical_error: float
    largest_error: float

    def check(self, least_share: float, *, largest_typical_error: float) -> None:
        """The gate: refuse answers that differ too often or too much.

        Args:
            least_share: of decisions that must be the same, strictly between 0 and 1.
            largest_typical_error: above 0.

        Raises:
            UsageError: naming what was found.
        """
        probability("least_share", least_share)
        if self.same is not None and self.same < least_share * self.rows:
            raise UsageError(
                f"{self.same} of {self.rows} decisions are the plain model's, fewer than {least_share:g} of all",
                hint="fit activations of a higher degree, train with he.friendly, or give numbers more bits",
            )
        if not self.typical_error <= largest_typical_error:
            raise UsageError(
                f"answers are off by {self.typical_error:.2g}, more than {largest_typical_error:.2g}",
                hint="fit activations of a higher degree, train with he.friendly, or give numbers more bits",
            )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Prepared:
    """A model before parameters and packing are chosen.

    Attributes:
        plain: the model as it was read: the reference.
        program: what ciphertexts compute, for inputs in [-1, 1].
        scaling: from rows to such inputs, known to whoever encrypts.
        inputs: calibration of the rows themselves; clips or refuses what is out of range.
        calibration: of `program`.
        fits: what each activation lost.
        depth: levels of each layer of `program`.
    """

    plain: Program
    program: Program
    scaling: InputScaling
    inputs: Calibration
    calibration: Calibration
    fits: tuple[Fit, ...]
    depth: tuple[LayerDepth, ...]

    @property
    def levels(self) -> int:
        """Levels that the program uses up."""
        return self.depth[-1].total

    def rows(self, x: npt.NDArray[Any]) -> tuple[Values, int]:
        """Rows as they are encrypted, within [-1, 1], and how many numbers were clipped.

        Raises:
            DataError: for numbers that are not finite, or out of range where the policy is to refuse.
            ValueError: for rows of another size.
        """
        within, clipped = self.inputs.within(x, self.plain.features)
        return self.scaling.apply(within), clipped

    def precision(self, bits: Bits, noise: Noise) -> Precision:
        """Predicted errors of every layer; see `predict_precision`."""
        return predict_precision(self.program, self.calibration, bits=bits, noise=noise)

    def agreement(
        self,
        x: npt.NDArray[Any],
        bits: Bits,
        *,
        noise: Noise | None = None,
        random: np.random.Generator | None = None,
    ) -> Agreement:
        """Compare the simulated mode with the plain model, activations and all.

        Args:
            x: rows, at least one.
            bits: how finely numbers are written.
            noise: what encryption would add; None for nothing.
            random: where it is drawn from.

        Raises:
            DataError: as `rows` does.
            ValueError: for no rows, or noise without a generator.
        """
        if not len(x):
            raise ValueError("there must be at least one row to compare")
        rows, _ = self.rows(x)
        found = quantise(self.program, bits).evaluate(rows, noise=noise, random=random)
        wanted = self.plain.evaluate(x)
        meaning = self.plain.meaning
        same = None if meaning.gives == "values" else int((meaning.decide(found) == meaning.decide(wanted)).sum())
        return Agreement(
            rows=len(x),
            same=same,
            typical_error=float(np.sqrt(np.mean((found - wanted) ** 2))),
            largest_error=float(np.abs(found - wanted).max()),
        )


def prepare(
    model: Any,
    sample: npt.NDArray[Any],
    *,
    gives: Gives = "logits",
    classes: Sequence[str] = (),
    degree: int | Sequence[int] = 2,
    method: Method = "least-squares",
    margin: float = 0.1,
    policy: Policy = "clip",
) -> Prepared:
    """Read a model and make it ready for ciphertexts: the front half of compiling.

    Args:
        model: a fitted scikit-learn estimator, a torch module, a `TrainedModel`, a `Program`, or an ONNX file or its
            bytes.
        sample: rows like those that will be scored, shaped as the model reads them.
        gives: what the outputs of a torch or ONNX model are.
        classes: names for such a model.
        degree: of the polynomials in the place of activations, 2 to 4; of all or of each.
        method: by which they are fitted.
        margin: by which share ranges are widened.
        policy: for inputs out of range.

    Raises:
        UsageError: naming what cannot be computed on ciphertexts, and what to do.
        DataError: for a sample that is too small, or holds numbers that are not finite.
        IntegrityError: for ONNX bytes that are none.
        ValueError: for arguments out of range.
    """
    plain = read_model(model, np.shape(sample)[1:], gives=gives, classes=classes)
    inputs = calibrate(plain, sample, margin=margin, policy=policy)
    fitted, fits = fit_activations(plain, sample, degree=degree, method=method, margin=margin)
    scaled, scaling = unit_inputs(simplify(fitted), inputs.ranges[0])
    rows = scaling.apply(sample)
    program = balanced(scaled, calibrate(scaled, rows, margin=margin))
    return Prepared(
        plain=plain,
        program=program,
        scaling=scaling,
        inputs=inputs,
        calibration=calibrate(program, rows, margin=margin),
        fits=fits,
        depth=depth_of(program),
    )


def read_model(
    model: Any, input_shape: Sequence[int], *, gives: Gives = "logits", classes: Sequence[str] = ()
) -> Program:
    """The program of a model of any kind that is read; only the library that it needs is imported.

    Raises:
        UsageError, IntegrityError, DataError, ValueError: as the readers do.
    """
    if isinstance(model, Program):
        return model
    if isinstance(model, (bytes, Path)):
        from wardline.he.compiler.from_onnx import read_onnx

        return read_onnx(model, input_shape=input_shape, gives=gives, classes=classes)
    libraries = {one.__module__.partition(".")[0] for one in type(model).__mro__}
    if type(model).__name__ == "TrainedModel" and type(model).__module__.startswith("wardline."):
        found: Program = need("wardline.he.compiler.from_torch", extra="torch").read_trained(model)
    elif "torch" in libraries:
        reader = need("wardline.he.compiler.from_torch", extra="torch")
        found = reader.read_torch(model, input_shape, gives=gives, classes=classes)
    elif "sklearn" in libraries:
        found = need("wardline.he.compiler.from_sklearn", extra="torch").read_sklearn(model)
    else:
        raise UsageError(
            f"a {type(model).__name__} is no model that is read",
            hint="give a scikit-learn estimator, a torch Sequential, a model of the house or an ONNX file",
        )
    return found
