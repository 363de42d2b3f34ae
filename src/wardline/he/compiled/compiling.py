"""A plain model and a sample into a compiled one, which has to decide as the plain one does."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from wardline.core import UsageError, need
from wardline.he.compiled.evaluator import Evaluator
from wardline.he.compiled.fidelity import Fidelity, fidelity_of, shortfall, simulate
from wardline.he.compiled.folder import PackedWeights, pack_weights
from wardline.he.compiled.kinds import Plan
from wardline.he.compiled.public_model import PublicModel
from wardline.he.compiled.sources import program_of
from wardline.he.compiler.calibration import calibrate
from wardline.he.compiler.convolution import Convolution
from wardline.he.compiler.layers import Activation, Affine, Diagonal
from wardline.he.compiler.merging import simplify
from wardline.he.compiler.polynomials import fit_activations
from wardline.he.compiler.program import Gives, Meaning, Program
from wardline.he.cost.prediction import seconds
from wardline.he.cost.speeds import measure_speeds
from wardline.he.diagonal.choice import plan_diagonal
from wardline.he.forest.choice import plan_forest
from wardline.he.forest.trees import Forest
from wardline.he.linear.plan import Floats, plan_linear
from wardline.he.network.choice import plan_network
from wardline.he.ranges import OutOfRange

__all__ = ["Compiled", "Fidelity", "compile", "compile_model", "compile_single", "simulate"]

_SHARES = (5e-3, 2e-3, 5e-4, 1e-4, 2.5e-5)
"""Errors, as shares of the scores' spread, that are tried in turn until enough decisions agree: the larger, the fewer
bytes."""

_DEGREES = (2, 3, 4)
"""Of the polynomials in the place of activations, tried in turn."""

_FEW = 512  # rows of a sample in whose slots a network is simulated


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Compiled:
    """A model ready to be written and served.

    Attributes:
        evaluator: computes on ciphertexts.
        weights: the server's file.
        fidelity: how it compares with the plain model.
    """

    evaluator: Evaluator
    weights: PackedWeights
    fidelity: Fidelity

    @property
    def public(self) -> PublicModel:
        """What clients may know."""
        return self.evaluator.public


def compile_model(
    model: Any,
    sample: npt.NDArray[Any],
    *,
    features: Sequence[str] = (),
    gives: Gives | None = None,
    batch: int | None = None,
    error: float | None = None,
    out_of_range: OutOfRange = "clip",
    margin: float = 0.1,
    agreement: float = 0.999,
) -> Compiled:
    """Compile a model: ranges from a sample, parameters from the ranges, and a gate on what comes out.

    A linear model becomes sums of columns, anything with polynomials or activations between linear maps a network on
    batch columns, or one for a row at a time where `batch` says that few rows come together. Activations that are no
    polynomials are fitted to the sample, with the lowest degree that keeps the decisions. Trees and forests are
    computed on encrypted comparisons, without `margin` and `gives`. All of it is protected: answers are fresh and
    flooded by 40 bits.

    Args:
        model: a fitted scikit-learn linear or logistic model, perceptron, pipeline or forest, a torch Sequential, one
            of the house's own models, a `Program`, or the path of a file (see `wardline.he.compiled.sources`).
        sample: rows like those that will be scored, [rows, *shape of a row], at least two. Their extremes, widened by
            `margin`, become public.
        features: names of a row's numbers; None are needed where the model knows them.
        gives: what the outputs of a torch or ONNX model are; None goes by their number.
        batch: rows that are expected at a time. A network is compiled both ways then, and the one is taken that takes
            a server on this machine less time (see `wardline.he.cost`). None expects many.
        error: the greatest standard deviation of an output's error by encryption; None takes what the agreement needs.
        out_of_range: what a client does with a feature outside of its range.
        margin: by which share of its width each range is widened on both sides, at least 0.
        agreement: the least share of the sample on which decisions must equal the plain model's.

    Raises:
        UsageError: naming a layer that cannot be computed or the depth that no ring bears, for an error that cannot be
            reached within 128 bits of security, for decisions that agree on too few rows, or for values that are off by
            more than a twentieth of their spread.
        DataError: for a sample that cannot be calibrated on.
        IntegrityError: for a file that is no model.
        ValueError: for arguments out of range.

    Guarantee: on every row of the sample the simulated score, noise and rounding included, was compared with the plain
    one. Of other rows the plan's `worst` bounds the error of encryption before rounding, as long as features lie in
    their ranges; what a fitted activation loses on them is not bounded.
    """
    if not 0 < agreement <= 1:
        raise ValueError("agreement must be above 0 and at most 1")
    if batch is not None and batch < 1:
        raise ValueError("batch must be at least 1")
    if _is_forest(model):
        return _compiled_forest(
            model, sample, features=features, error=error, out_of_range=out_of_range, agreement=agreement
        )
    program = program_of(model, np.shape(sample)[1:], features=features, gives=gives)
    rows = program.rows(sample)
    linear = _linear_layer(program)
    if linear is not None:
        trials = _linear_plans(program, linear, rows, error=error, margin=margin)
    else:
        trials = _network_plans(program, rows, error=error, margin=margin, agreement=agreement)
    asked = error is not None
    if linear is not None or batch is None:
        return _first_that_does(program, rows, trials, agreement=agreement, asked=asked, out_of_range=out_of_range)
    singles = _network_plans(program, rows, error=error, margin=margin, agreement=agreement, single=True)
    made, refused = [], []
    for some, found in ((rows, trials), (rows[:_FEW], singles)):
        try:
            made.append(
                _first_that_does(program, some, found, agreement=agreement, asked=asked, out_of_range=out_of_range)
            )
        except UsageError as failed:
            refused.append(failed)
    if not made:
        raise refused[0]
    speeds = measure_speeds()
    return min(
        made,
        key=lambda one: seconds(one.public.plan, speeds, rows=batch, secret=one.evaluator.secret).server,  # type: ignore[arg-type]
    )


compile = compile_model  # noqa: A001 (for `he.compile`, as its users call it)


def compile_single(
    model: Any,
    sample: npt.NDArray[Any],
    *,
    features: Sequence[str] = (),
    gives: Gives | None = None,
    error: float | None = None,
    out_of_range: OutOfRange = "clip",
    margin: float = 0.1,
    agreement: float = 0.999,
) -> Compiled:
    """Compile a network to score one row at a time, with the least delay; `compile_model` is for many rows at once.

    A row stands in the slots of a few ciphertexts that the server rotates, so that keys for rotations go up once.
    Activations are fitted by polynomials of degree 2. The simulated mode looks at no more than 512 rows of the sample.
    Arguments, errors and guarantee are those of `compile_model`; a linear model and a forest are refused.

    References: Halevi and Shoup 2014 and 2018 (see `wardline.he.diagonal`).
    """
    if not 0 < agreement <= 1:
        raise ValueError("agreement must be above 0 and at most 1")
    program = program_of(model, np.shape(sample)[1:], features=features, gives=gives)
    if _linear_layer(program) is not None:
        raise UsageError("the model is linear", hint="compile it with compile_model: a batch takes milliseconds")
    rows = program.rows(sample)
    trials = _network_plans(program, rows, error=error, margin=margin, agreement=agreement, single=True)
    return _first_that_does(
        program, rows[:_FEW], trials, agreement=agreement, asked=error is not None, out_of_range=out_of_range
    )


def _first_that_does(
    program: Program,
    rows: Floats,
    trials: Iterator[_Trial | str],
    *,
    agreement: float,
    asked: bool,
    out_of_range: OutOfRange,
) -> Compiled:
    """The first plan that decides as the plain model does; `asked` is whether its error was."""
    reached = "nothing was tried"
    plain = program.evaluate(rows)
    for trial in trials:
        if isinstance(trial, str):
            reached = trial
            continue
        fidelity = fidelity_of(program.meaning, plain, simulate(trial.plan, trial.secret, rows))
        short = shortfall(fidelity, trial.plan, agreement=agreement, first=trial.first and not asked)
        if short is None:
            return _compiled(
                trial.plan,
                trial.secret,
                fidelity,
                features=program.features,
                meaning=program.meaning,
                out_of_range=out_of_range,
            )
        reached = short
    raise UsageError(
        f"the encrypted model would not decide as the plain one: {reached}",
        hint="scale features to similar sizes, narrow the sample's ranges, train a network with he.friendly, or allow "
        "a larger error or a lower agreement",
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Trial:
    """A plan that may do.

    Attributes:
        first: whether it has the largest error that is tried.
    """

    plan: Plan
    secret: Any
    first: bool


def _linear_layer(program: Program) -> Affine | Diagonal | Convolution | None:
    """The one linear map that a program is; None where it is more."""
    layers = simplify(program).layers
    only = layers[0]
    return only if len(layers) == 1 and isinstance(only, (Affine, Diagonal, Convolution)) else None


def _linear_plans(
    program: Program, layer: Affine | Diagonal | Convolution, rows: Floats, *, error: float | None, margin: float
) -> Iterator[_Trial | str]:
    ranges = calibrate(simplify(program), rows, margin=margin).ranges[0]
    for index, share in enumerate(_SHARES if error is None else _SHARES[:1]):
        try:
            plan, secret = plan_linear(
                layer.matrix(),
                np.array(layer.offset),
                low=ranges.low,
                high=ranges.high,
                sample=rows,
                error=error,
                share=share,
            )
        except OverflowError as failed:
            if index == 0:
                yield str(failed)
            return
        yield _Trial(plan=plan, secret=secret, first=index == 0)


def _network_plans(
    program: Program,
    rows: Floats,
    *,
    error: float | None,
    margin: float,
    agreement: float,
    single: bool = False,
) -> Iterator[_Trial | str]:
    plain = program.evaluate(rows)
    spread = float(np.sqrt(plain.var(axis=0).mean()))
    if spread == 0.0 and error is None:
        raise UsageError("the outputs are the same for all rows of the sample", hint="say which error is wanted")
    wanted = [error] if error is not None else [spread * share for share in _SHARES[1:]]
    activated = any(isinstance(layer, Activation) for layer in program.layers)
    for degree in _DEGREES if activated and not single else _DEGREES[:1]:
        fitted, _ = fit_activations(program, rows, degree=degree, margin=margin)
        if activated:
            off = fidelity_of(program.meaning, plain, fitted.evaluate(rows))
            short = shortfall(off, None, agreement=agreement, first=False)
            if short is not None:
                yield f"with activations fitted by polynomials of degree {degree}, {short}"
                continue
        for one in wanted:
            try:
                plan, secret = (plan_diagonal if single else plan_network)(fitted, rows, error=one, margin=margin)
            except OverflowError as failed:
                if one == wanted[0]:
                    yield str(failed)
                break
            yield _Trial(plan=plan, secret=secret, first=one == wanted[0])


def _compiled(
    plan: Plan,
    secret: Any,
    fidelity: Fidelity,
    *,
    features: Sequence[str],
    meaning: Meaning,
    out_of_range: OutOfRange,
) -> Compiled:
    weights = pack_weights(secret, plan)
    public = PublicModel(
        plan=plan,
        features=tuple(features) or tuple(f"feature {index}" for index in range(plan.inputs)),
        meaning=meaning,
        out_of_range=out_of_range,
        weights_sha256=weights.sha256,
    )
    return Compiled(evaluator=public.kind.server.evaluator(public, secret), weights=weights, fidelity=fidelity)


def _is_forest(model: Any) -> bool:
    return isinstance(model, Forest) or type(model).__module__.split(".")[:2] in (
        ["sklearn", "tree"],
        ["sklearn", "ensemble"],
    )


def _compiled_forest(
    model: Any,
    sample: npt.NDArray[Any],
    *,
    features: Sequence[str],
    error: float | None,
    out_of_range: OutOfRange,
    agreement: float,
) -> Compiled:
    """Trees on encrypted comparisons: exact, but for leaves that are rounded to a common step."""
    forest = model
    if not isinstance(model, Forest):
        forest = need("wardline.he.forest.reading", extra="data").read_forest(model, features=features)
    rows = np.asarray(sample, dtype=np.float64)
    plan, secret = plan_forest(forest, rows, error=error, agreement=agreement)
    fidelity = fidelity_of(forest.meaning, forest.evaluate(rows), secret.simulate(rows, plan))
    names = tuple(features) or forest.names
    return _compiled(plan, secret, fidelity, features=names, meaning=forest.meaning, out_of_range=out_of_range)
