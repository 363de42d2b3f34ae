"""A plain linear model and a sample into a compiled one, which has to decide as the plain one does."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from wardline.core import Seeds, UsageError, need
from wardline.he.compiled.evaluator import LinearEvaluator
from wardline.he.compiled.folder import PackedWeights, pack_weights
from wardline.he.compiled.public_model import PublicModel
from wardline.he.compiler.calibration import calibrate
from wardline.he.compiler.layers import Affine, Diagonal
from wardline.he.compiler.merging import simplify
from wardline.he.compiler.program import Program
from wardline.he.linear.plan import Floats, LinearPlan, LinearWeights, encode, plan_linear
from wardline.he.ranges import OutOfRange

_SHARES = (5e-3, 2e-3, 5e-4, 1e-4, 2.5e-5)
"""Errors, as shares of the scores' spread, that are tried in turn until enough decisions agree: the larger, the fewer
bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fidelity:
    """How a compiled model compares with the plain one, over the sample, in the simulated mode.

    Attributes:
        rows: of the sample.
        agreement: share of them with equal decisions; None for outputs that decide nothing.
        largest_error: of a rounded score.
        deviation: root of the mean squared error of rounded scores.
    """

    rows: int
    agreement: float | None
    largest_error: float
    deviation: float

    def __str__(self) -> str:
        decided = "" if self.agreement is None else f"decisions equal on {self.agreement:.4%} of them, "
        return (
            f"{self.rows} rows simulated: {decided}errors {self.deviation:.2g} typical, {self.largest_error:.2g} most"
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Compiled:
    """A model ready to be written and served.

    Attributes:
        evaluator: computes on ciphertexts.
        weights: the server's file.
        fidelity: how it compares with the plain model.
    """

    evaluator: LinearEvaluator
    weights: PackedWeights
    fidelity: Fidelity

    @property
    def public(self) -> PublicModel:
        """What clients may know."""
        return self.evaluator.public


def compile_linear(
    model: Any,
    sample: npt.NDArray[Any],
    *,
    features: Sequence[str] = (),
    error: float | None = None,
    out_of_range: OutOfRange = "clip",
    margin: float = 0.1,
    agreement: float = 0.999,
) -> Compiled:
    """Compile a linear model: ranges from a sample, parameters from the ranges, and a gate on what comes out.

    Args:
        model: a `Program`, or a fitted scikit-learn model that `wardline.he.compiler.from_sklearn` reads.
        sample: rows like those that will be scored, [rows, features], at least two. Their extremes, widened by
            `margin`, become public.
        features: names of the columns; None are needed where the model knows them.
        error: the greatest standard deviation of a score's error; None takes what the agreement needs.
        out_of_range: what a client does with a feature outside of its range.
        margin: by which share of its width each range is widened on both sides, at least 0.
        agreement: the least share of the sample on which decisions must equal the plain model's.

    Raises:
        UsageError: for a model that is not linear, an error that cannot be reached within 128 bits of security, or
            decisions that agree on too few rows.
        DataError: for a sample that cannot be calibrated on.
        ValueError: for arguments out of range.

    Guarantee: on every row of the sample the simulated score, noise and rounding included, was compared with the plain
    one. Of other rows the plan's `worst` bounds the error before rounding, as long as features lie in their ranges.
    """
    if not 0 < agreement <= 1:
        raise ValueError("agreement must be above 0 and at most 1")
    program = _linear(_program(model, features))
    layer = program.layers[0]
    assert isinstance(layer, (Affine, Diagonal))  # `_linear` has refused all others
    rows = program.rows(sample)
    ranges = calibrate(program, rows, margin=margin, policy=out_of_range).ranges[0]
    plain = program.evaluate(rows)
    spread = float(plain.std(axis=0).min())
    wanted = [error] if error is not None else [max(spread * share, 1e-300) for share in _SHARES]
    reached = ""
    for one in wanted:
        try:
            plan, secret = plan_linear(
                layer.matrix(), layer.offset, low=ranges.low, high=ranges.high, sample=rows, error=one
            )
        except OverflowError as failed:
            reached = reached or str(failed)
            break
        fidelity = _compare(program, plan, secret, rows)
        reached = f"decisions agree on {fidelity.agreement} of the sample, and {agreement} is wanted"
        if fidelity.largest_error > plan.worst + plan.step / 2:
            raise UsageError(
                f"a simulated score is off by {fidelity.largest_error:.2g}, more than the plan's bound",
                hint="scale the features to similar sizes, and compile again",
            )
        # The largest error is taken if it leaves a margin: half of the decisions that may differ.
        enough = (1 + agreement) / 2 if one > wanted[-1] and one == wanted[0] else agreement
        if fidelity.agreement is None or fidelity.agreement >= enough:
            return _compiled(program, plan, secret, fidelity, out_of_range)
    raise UsageError(
        f"the encrypted model would not decide as the plain one: {reached}",
        hint="drop features of no weight, narrow the sample's ranges, or allow a larger error or a lower agreement",
    )


def simulate(plan: LinearPlan, secret: LinearWeights, rows: Floats) -> Floats:
    """Rounded scores as a client would get them, with noise of the size that encryption adds: [rows, outputs].

    The noise is of a fixed seed and of an experiment's quality: nothing is protected here.

    Args:
        plan: of the model.
        secret: its integers.
        rows: finite numbers [rows, features].
    """
    parameters = plan.parameters
    assert parameters.plain_modulus is not None
    generator = Seeds(0).numpy("noise of a compiled model")
    exact = secret.scores(encode(plan, rows), plan)
    unit = parameters.plain_modulus / plan.scale
    flood = 2.0**plan.flood_bits * unit / math.prod(parameters.moduli)
    spread = math.sqrt((1 + 2 / 3 * parameters.degree) / 12) * unit / parameters.moduli[0]
    noise = generator.uniform(-flood, flood, exact.shape) + generator.normal(0.0, spread, exact.shape)
    return np.asarray(np.rint((exact + noise) / plan.step) * plan.step, dtype=np.float64)


def _program(model: Any, features: Sequence[str]) -> Program:
    if isinstance(model, Program):
        return replace(model, features=tuple(features)) if features else model
    if type(model).__module__.partition(".")[0] == "sklearn":
        reader = need("wardline.he.compiler.from_sklearn", extra="data")
        program = reader.read_sklearn(model, features=features)
        assert isinstance(program, Program)
        return program
    raise UsageError(
        f"{type(model).__name__} is no model that can be compiled here",
        hint="give a fitted scikit-learn model, or a Program from wardline.he.compiler.from_torch or from_onnx",
    )


def _linear(program: Program) -> Program:
    program = simplify(program)
    layer = program.layers[0]
    if len(program.layers) > 1 or not isinstance(layer, (Affine, Diagonal)):
        named = next((one.name for one in program.layers if not isinstance(one, (Affine, Diagonal))), layer.name)
        raise UsageError(
            f"the model is not linear: {named} is no weighted sum, and a server computes nothing else yet",
            hint="compile a linear or logistic model, or a pipeline of scalers and one of these",
        )
    return program


def _compare(program: Program, plan: LinearPlan, secret: LinearWeights, rows: Floats) -> Fidelity:
    plain, found = program.evaluate(rows), simulate(plan, secret, rows)
    off = np.abs(found - plain)
    agreement = None
    if program.meaning.gives != "values":
        agreement = float((program.meaning.decide(found) == program.meaning.decide(plain)).mean())
    return Fidelity(
        rows=len(rows),
        agreement=agreement,
        largest_error=float(off.max()),
        deviation=float(np.sqrt((off**2).mean())),
    )


def _compiled(
    program: Program, plan: LinearPlan, secret: LinearWeights, fidelity: Fidelity, out_of_range: OutOfRange
) -> Compiled:
    weights = pack_weights(secret)
    public = PublicModel(
        plan=plan,
        features=program.features or tuple(f"feature {index}" for index in range(program.inputs)),
        meaning=program.meaning,
        out_of_range=out_of_range,
        weights_sha256=weights.sha256,
    )
    return Compiled(evaluator=LinearEvaluator(public=public, secret=secret), weights=weights, fidelity=fidelity)
