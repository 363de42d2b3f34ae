"""Compiled networks: written, read, served and refused like linear models."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wardline.core import IntegrityError, UsageError, canonical_json
from wardline.he.compiled.compiling import Compiled, compile_model
from wardline.he.compiled.folder import WEIGHTS_FILE, pack_weights, read_model, write_model
from wardline.he.compiled.parcels import (
    read_keys_parcel,
    read_rows_parcel,
    read_scores_parcel,
    write_keys_parcel,
    write_rows_parcel,
    write_scores_parcel,
)
from wardline.he.compiled.public_model import PublicModel
from wardline.he.compiler.layers import Activation, Affine, Polynomial
from wardline.he.compiler.program import Meaning, Program
from wardline.he.frames.columns import write_columns
from wardline.he.frames.evaluation_keys import expand_keys, write_evaluation_keys
from wardline.he.frames.session import Binding, Session
from wardline.he.seal.bridge import SealLattice


def network(activation: str = "square") -> Program:
    generator = np.random.default_rng(2)
    first = Affine(weights=generator.normal(size=(6, 3)) / 2, offset=generator.normal(size=6), name="first")
    last = Affine(weights=generator.normal(size=(2, 6)), offset=generator.normal(size=2), name="last")
    middle: Any = Polynomial(coefficients=(0.3, -0.5, 1.0), units=6, name="bend")
    if activation == "quartic":
        middle = Polynomial(coefficients=(0.3, -0.5, 1.0, 0.2, 0.4), units=6, name="bend")
    elif activation == "cubic":
        middle = Polynomial(coefficients=(0.3, -0.5, 1.0, 0.4), units=6, name="bend")
    elif activation != "square":
        middle = Activation(kind=activation, units=6, name="bend")
    meaning = Meaning(gives="logits", classes=("left", "right"), link="softmax")
    return Program(input_shape=(3,), layers=(first, middle, last), meaning=meaning, features=("x", "y", "z"))


@pytest.fixture(scope="module")
def small() -> Compiled:
    return compile_model(network(), np.random.default_rng(1).uniform(-1, 1, (500, 3)))


def changed(compiled: Compiled, *path: Any, to: object) -> bytes:
    # Canonical JSON writes large floats without a point.
    value = json.loads(compiled.public.to_bytes(), parse_int=lambda text: int(text) if len(text) < 16 else float(text))
    inner = value
    for step in path[:-1]:
        inner = inner[step]
    inner[path[-1]] = to
    return canonical_json(value)


@pytest.mark.parametrize("activation", ["square", "quartic"])
def test_it_is_read_as_it_was_written(tmp_path: Path, activation: str) -> None:
    rows = np.random.default_rng(1).uniform(-1, 1, (500, 3))
    compiled = compile_model(network(activation), rows)
    assert compiled.public.kind.name == "network"
    write_model(tmp_path / "model", compiled.public, compiled.weights)
    found = read_model(tmp_path / "model")
    assert found.digest == compiled.public.digest
    assert found.public.to_bytes() == compiled.public.to_bytes()
    simulated = found.secret.simulate(rows, found.public.plan)
    assert np.array_equal(simulated, compiled.evaluator.secret.simulate(rows, compiled.public.plan))
    assert len(found.secret.layers[0].blocks) == len(compiled.evaluator.secret.layers[0].blocks)


def test_no_weight_stands_in_the_public_part(small: Compiled) -> None:
    numbers = {float(one) for one in _numbers(json.loads(small.public.to_bytes()))}
    for layer in small.evaluator.secret.layers:
        hidden = {*layer.offset.tolist(), *map(float, layer.weights.ravel()), layer.slope}
        assert not {one for one in hidden if one and abs(one) > 64} & numbers
    assert "weights=" not in repr(small.evaluator)


def _numbers(value: Any) -> list[float]:
    if isinstance(value, dict):
        return [one for inner in value.values() for one in _numbers(inner)]
    if isinstance(value, list):
        return [one for inner in value for one in _numbers(inner)]
    return [value] if type(value) in (int, float) else []


@pytest.mark.parametrize(
    ("path", "to"),
    [
        (("plan", "layers"), []),
        (("plan", "layers", 0, "inputs"), 4),
        (("plan", "layers", 0, "outputs"), 1 << 20),
        (("plan", "layers", 0, "squared"), False),
        (("plan", "layers", 1, "squared"), True),
        (("plan", "layers", 0, "live"), 9),
        (("plan", "layers", 0, "limbs"), 3),
        (("plan", "layers", 0, "dropped"), 5),
        (("plan", "layers", 0, "scale"), -1.0),
        (("plan", "layers", 0, "second"), {"degree": 5}),
        (("plan", "layers", 0, "name"), 7),
        (("plan", "input_scale"), 2.0**399),
        (("plan", "input_scale"), 0),
        (("plan", "reply_scale"), 1.0),
        (("plan", "reply_limbs"), 0),
        (("plan", "flood_bits"), None),
        (("plan", "flood_bits"), 39),
        (("plan", "flood_bits"), 40),
        (("plan", "step"), 2.0**-40),
        (("plan", "step"), 0.3),
        (("plan", "parameters", "special"), None),
        (("plan", "parameters", "scheme"), "bfv"),
        (("plan", "centre"), [0.0] * 2),
        (("plan", "half_width"), [1.0] * 4),
        (("plan", "reach"), 0),
    ],
)
def test_what_does_not_fit_is_refused(small: Compiled, path: tuple[Any, ...], to: object) -> None:
    with pytest.raises(IntegrityError):
        PublicModel.from_bytes(changed(small, *path, to=to))


def test_what_was_not_changed_is_taken(small: Compiled) -> None:
    """The control of the refusals above."""
    assert changed(small, "plan", "reply_limbs", to=small.public.plan.reply_limbs) == small.public.to_bytes()
    PublicModel.from_bytes(changed(small, "plan", "step", to=small.public.plan.step * 2))


def test_a_plan_without_protection_is_not_given_away(small: Compiled) -> None:
    with pytest.raises(ValueError, match="no protection"):
        replace(small.public, plan=replace(small.public.plan, flood_bits=None)).to_bytes()


def test_limits_let_its_own_frames_through_and_little_more(small: Compiled) -> None:
    columns, keys = small.evaluator.blank()
    session, binding = Session.generate(), Binding.fresh()
    longest = max(
        len(write_columns(columns, session=session, binding=binding)),
        len(write_evaluation_keys(keys, session=session, binding=binding)),
    )
    assert longest <= small.public.limits.frame_bytes <= 1.1 * longest + 8192


@pytest.mark.parametrize("activation", ["square", "cubic", "quartic"])
def test_a_narrow_one_takes_the_same_steps(activation: str) -> None:
    rows = np.random.default_rng(1).uniform(-1, 1, (300, 3))
    compiled = compile_model(network(activation), rows)
    few = compiled.evaluator.narrow()
    columns, keys = few.blank()
    found = few.evaluate(columns, few.ready(keys), rows=1)
    few.public.check_replies(found)
    assert [layer.limbs for layer in few.public.plan.layers] == [one.limbs for one in compiled.public.plan.layers]
    assert few.digest != compiled.public.digest


def test_keys_must_be_those_that_it_needs(small: Compiled) -> None:
    _, keys = small.evaluator.blank()
    small.evaluator.check_keys(keys)
    with pytest.raises(IntegrityError, match="relinearise"):
        small.evaluator.check_keys(replace(keys, relinearisation=None))
    with pytest.raises(IntegrityError, match="galois"):
        small.evaluator.check_keys(replace(keys, galois={3: keys.relinearisation}))
    linear = compile_model(
        Program(input_shape=(3,), layers=network().layers[:1], meaning=Meaning(gives="values")),
        np.random.default_rng(1).uniform(-1, 1, (500, 3)),
    )
    with pytest.raises(IntegrityError, match="other parameters"):
        linear.evaluator.check_keys(keys)


def test_every_byte_of_the_weights_counts(tmp_path: Path, small: Compiled) -> None:
    write_model(tmp_path / "model", small.public, small.weights)
    path = tmp_path / "model" / WEIGHTS_FILE
    content = path.read_bytes()
    for at in range(0, len(content), 7):
        path.write_bytes(content[:at] + bytes([content[at] ^ 0x10]) + content[at + 1 :])
        with pytest.raises(IntegrityError):
            read_model(tmp_path / "model")
    for other in (b"", content[:-1], content + b"\0"):
        path.write_bytes(other)
        with pytest.raises(IntegrityError):
            read_model(tmp_path / "model")


def test_weights_that_do_not_fit_their_plan_are_refused(tmp_path: Path, small: Compiled) -> None:
    secret = small.evaluator.secret
    first = secret.layers[0]
    for index, wrong in enumerate(
        (
            replace(first, weights=first.weights * 0 + (1 << 30)),
            replace(first, offset=np.full(6, np.inf)),
            replace(first, slope=float("nan")),
        )
    ):
        packed = pack_weights(replace(secret, layers=(wrong, *secret.layers[1:])), small.public.plan)
        folder = tmp_path / str(index)
        write_model(folder, replace(small.public, weights_sha256=packed.sha256), packed)
        with pytest.raises(IntegrityError, match="refused"):
            read_model(folder)


def test_the_whole_way_by_files(tmp_path: Path, small: Compiled) -> None:
    public, plan, kind = small.public, small.public.plan, small.public.kind
    rows = np.random.default_rng(5).uniform(-1, 1, (5, 3))
    lattice = SealLattice.generate(plan.parameters)
    write_keys_parcel(tmp_path / "keys", public, kind.make_keys(lattice, plan), key=lattice.key.id)
    keys = read_keys_parcel(tmp_path / "keys", public)
    small.evaluator.check_keys(keys)
    batches = list(kind.client.encrypt_rows(lattice, plan, rows, out_of_range="clip"))
    write_rows_parcel(tmp_path / "rows", public, batches, rows=len(rows), key=lattice.key.id)
    columns, count = read_rows_parcel(tmp_path / "rows", public)
    replies = [small.evaluator.evaluate(one, expand_keys(keys), rows=count) for one in columns]
    write_scores_parcel(tmp_path / "scores", public, replies, rows=count, key=lattice.key.id)
    found, count = read_scores_parcel(tmp_path / "scores", public)
    scores = kind.client.decrypt_outputs(lattice, plan, found, rows=count)
    assert np.abs(scores - network().evaluate(rows)).max() <= plan.worst
    assert np.array_equal(scores, np.rint(scores / plan.step) * plan.step)
    assert (public.charged(count), public.charged(plan.rows + 3)) == (8, plan.rows + 4)
    wrong = [replace(one, scale=one.scale * 2) for one in found[0]]
    with pytest.raises(IntegrityError, match="other ciphertexts"):
        public.check_replies(wrong)
    with pytest.raises(IntegrityError, match="other ciphertexts"):
        public.check_replies(found[0][:1])
    other = replace(columns[0], scale=plan.input_scale * 2)
    with pytest.raises(IntegrityError, match="plan says"):
        small.evaluator.evaluate(other, expand_keys(keys), rows=1)
    for count in (0, plan.rows + 1):
        with pytest.raises(ValueError, match="rows must be"):
            small.evaluator.evaluate(columns[0], expand_keys(keys), rows=count)


def test_activations_are_fitted_as_far_as_decisions_bear_it() -> None:
    rows = np.random.default_rng(1).uniform(-1, 1, (800, 3))
    compiled = compile_model(network("gelu"), rows, agreement=0.98)
    assert compiled.fidelity.agreement is not None
    assert compiled.fidelity.agreement >= 0.98
    with pytest.raises(UsageError, match="activations fitted by polynomials of degree 4"):
        compile_model(network("relu"), rows * 50, agreement=1.0)


@pytest.mark.filterwarnings("ignore::UserWarning")  # 40 iterations are few
def test_models_of_libraries_are_compiled() -> None:
    torch = pytest.importorskip("torch")
    neural, pipeline = pytest.importorskip("sklearn.neural_network"), pytest.importorskip("sklearn.pipeline")
    preprocessing = pytest.importorskip("sklearn.preprocessing")
    from wardline.he.compiler.activations import Square

    generator = np.random.default_rng(6)
    rows = generator.normal(size=(300, 4)) * (1, 10, 100, 0.1)
    labels = rows[:, 0] > rows[:, 1] / 10
    model = pipeline.make_pipeline(
        preprocessing.StandardScaler(), neural.MLPClassifier((4,), activation="logistic", max_iter=40, random_state=0)
    )
    model.fit(rows, labels)
    compiled = compile_model(model, rows, features=("a", "b", "c", "d"), agreement=0.95)
    assert (compiled.public.kind.name, compiled.public.meaning.classes) == ("network", ("False", "True"))
    images = generator.uniform(0, 1, (64, 1, 6, 6))
    torch.manual_seed(0)
    layers = torch.nn.Sequential(
        torch.nn.Conv2d(1, 2, 3, stride=3), Square(), torch.nn.Flatten(), torch.nn.Linear(8, 3)
    )
    compiled = compile_model(layers, images, agreement=0.9)
    assert compiled.public.plan.inputs == 36
    assert compiled.public.meaning.gives == "logits"
    with pytest.raises(UsageError, match="maximum"):
        compile_model(torch.nn.Sequential(torch.nn.MaxPool2d(2), torch.nn.Flatten(), torch.nn.Linear(9, 2)), images)


@settings(max_examples=200, deadline=None)
@given(place=st.integers(0, 10**6), byte=st.integers(0, 255), length=st.integers(0, 3))
def test_any_change_is_refused_or_another_model(small: Compiled, place: int, byte: int, length: int) -> None:
    data = small.public.to_bytes()
    at = place % len(data)
    broken = data[:at] + bytes([byte]) * length + data[at + 1 :]
    try:
        found = PublicModel.from_bytes(broken)
    except (IntegrityError, UsageError):
        return
    assert (found.digest == small.public.digest) == (broken == data)


def test_values_far_off_are_refused() -> None:
    rows = np.random.default_rng(1).uniform(-1, 1, (800, 3)) * 50
    rough = replace(network("relu"), meaning=Meaning(gives="values"))
    with pytest.raises(UsageError, match="of their spread"):
        compile_model(rough, rows)


def test_depth_and_errors_out_of_reach_are_refused() -> None:
    rows = np.random.default_rng(1).uniform(-1, 1, (300, 3))
    with pytest.raises(UsageError, match=r"error|depth|levels|bits"):
        compile_model(network(), rows, error=1e-30)
    square = [
        layer
        for index in range(14)
        for layer in (
            Affine(weights=np.eye(3) * 0.9, offset=np.zeros(3), name=f"dense {index}"),
            Polynomial(coefficients=(0.0, 0.1, 1.0), units=3, name=f"bend {index}"),
        )
    ]
    with pytest.raises(UsageError):
        compile_model(Program(input_shape=(3,), layers=tuple(square), meaning=Meaning(gives="values")), rows)
