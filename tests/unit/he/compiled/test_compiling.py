"""Compilation: what comes out decides as the plain model does, and what cannot be computed is named."""

from __future__ import annotations

import numpy as np
import pytest

from wardline.core import DataError, UsageError
from wardline.he.compiled.compiling import compile_model, simulate
from wardline.he.compiler.layers import Affine, Diagonal
from wardline.he.compiler.program import Meaning, Program


def linear(features: int = 5, outputs: int = 1, seed: int = 0) -> tuple[Program, np.ndarray]:
    generator = np.random.default_rng(seed)
    scales = 10.0 ** generator.uniform(-1, 3, features)
    rows = generator.normal(size=(800, features)) * scales
    layer = Affine(weights=generator.normal(size=(outputs, features)) / scales, offset=generator.normal(size=outputs))
    meaning = Meaning(gives="decision", classes=("no", "yes"), link="sigmoid")
    if outputs > 1:
        meaning = Meaning(gives="logits", classes=tuple(map(str, range(outputs))), link="softmax")
    return Program(input_shape=(features,), layers=(layer,), meaning=meaning), rows


@pytest.mark.parametrize("outputs", [1, 3])
def test_a_compiled_model_decides_as_the_plain_one(outputs: int) -> None:
    program, rows = linear(outputs=outputs)
    compiled = compile_model(program, rows[:400])
    public, secret = compiled.public, compiled.evaluator.secret
    unseen = np.clip(rows[400:], public.plan.centre - public.plan.half_width, None)
    unseen = np.minimum(unseen, public.plan.centre + public.plan.half_width)
    found = simulate(public.plan, secret, unseen)
    plain = program.evaluate(unseen)
    assert np.abs(found - plain).max() <= public.plan.worst + public.plan.step / 2
    assert (public.meaning.decide(found) == program.decide(unseen)).mean() >= 0.99
    assert compiled.fidelity.agreement is not None
    assert compiled.fidelity.agreement >= 0.999
    assert public.features == tuple(f"feature {index}" for index in range(5))
    assert f"{compiled.fidelity.rows} rows simulated" in str(compiled.fidelity)


def test_scalers_in_front_are_folded_in() -> None:
    program, rows = linear()
    layers = (Diagonal(factors=np.full(5, 0.5), offset=np.ones(5)), *program.layers)
    scaled = Program(input_shape=(5,), layers=layers, meaning=program.meaning)
    compiled = compile_model(scaled, rows)
    found = simulate(compiled.public.plan, compiled.evaluator.secret, rows)
    assert np.abs(found - scaled.evaluate(rows)).max() <= compiled.public.plan.worst + compiled.public.plan.step / 2


def test_a_fitted_estimator_is_read() -> None:
    linear_model = pytest.importorskip("sklearn.linear_model")
    _, rows = linear()
    rows = rows / rows.std(axis=0)
    labels = np.where(rows[:, 0] - rows[:, 1] + 0.3 * rows[:, 2] > 0, "good", "bad")
    model = linear_model.LogisticRegression().fit(rows, labels)
    compiled = compile_model(model, rows, features=("a", "b", "c", "d", "e"))
    assert compiled.public.features == ("a", "b", "c", "d", "e")
    assert compiled.public.meaning.classes == ("bad", "good")


def test_what_is_no_model_is_refused() -> None:
    with pytest.raises(UsageError, match="dict is no model"):
        compile_model({}, linear(outputs=3)[1])


def test_what_cannot_be_reached_is_refused() -> None:
    program, rows = linear()
    with pytest.raises(UsageError, match=r"error of 1e-30 was asked for"):
        compile_model(program, rows, error=1e-30)
    # Rows so near to the threshold that no noise of 40 bits leaves their decisions alone.
    near = np.concatenate([rows[:20], np.random.default_rng(3).normal(size=(200, 5)) * 1e-12])
    layer = program.layers[0]
    assert isinstance(layer, Affine)
    centred = Program(input_shape=(5,), layers=(layer.with_offset(np.zeros(1)),), meaning=program.meaning)
    with pytest.raises(UsageError, match="would not decide as the plain one"):
        compile_model(centred, near)
    compile_model(program, rows, agreement=0.99)


def test_bad_samples_are_refused() -> None:
    program, rows = linear()
    with pytest.raises(DataError):
        compile_model(program, rows[:1])
    with pytest.raises(ValueError, match="finite"):
        compile_model(program, np.full((5, 5), np.nan))
    with pytest.raises(ValueError, match="agreement"):
        compile_model(program, rows, agreement=1.5)
