"""Networks for one row at a time: written, read and scored like models of other kinds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from wardline.core import IntegrityError, UsageError, canonical_json
from wardline.he.compiled.compiling import Compiled, compile_model, compile_single
from wardline.he.compiled.folder import PUBLIC_FILE, WEIGHTS_FILE, read_model, write_model
from wardline.he.compiled.public_model import PublicModel
from wardline.he.compiler.layers import Affine, Polynomial
from wardline.he.compiler.program import Meaning, Program
from wardline.he.cost.prediction import seconds
from wardline.he.cost.speeds import measure_speeds
from wardline.he.seal.bridge import SealLattice


def network() -> Program:
    generator = np.random.default_rng(2)
    first = Affine(weights=generator.normal(size=(6, 3)) / 2, offset=generator.normal(size=6), name="first")
    last = Affine(weights=generator.normal(size=(2, 6)), offset=generator.normal(size=2), name="last")
    bend = Polynomial(coefficients=(0.3, -0.5, 1.0), units=6, name="bend")
    meaning = Meaning(gives="logits", classes=("left", "right"), link="softmax")
    return Program(input_shape=(3,), layers=(first, bend, last), meaning=meaning, features=("x", "y", "z"))


def rows(count: int) -> np.ndarray:
    return np.random.default_rng(1).uniform(-1, 1, (count, 3))


@pytest.fixture(scope="module")
def single() -> Compiled:
    return compile_single(network(), rows(300), agreement=0.99)


def test_rows_are_scored_one_after_the_other(tmp_path: Path, single: Compiled) -> None:
    write_model(tmp_path / "model", single.public, single.weights)
    evaluator = read_model(tmp_path / "model")
    public, kind, plan = evaluator.public, evaluator.public.kind, evaluator.public.plan
    assert kind.name == "diagonal"
    assert (public.batches(3), public.charged(3)) == (3, 3)
    lattice = SealLattice.generate(plan.parameters)
    keys = kind.make_keys(lattice, plan)
    evaluator.check_keys(keys)
    with pytest.raises(IntegrityError, match="keys are others"):
        evaluator.check_keys(lattice.evaluation_keys(relinearisation=True))
    ready = evaluator.ready(keys)
    found = [
        evaluator.evaluate(one, ready, rows=1)
        for one in kind.client.encrypt_rows(lattice, plan, rows(3), out_of_range="clip")
    ]
    for one in found:
        public.check_replies(one)
    scores = kind.client.decrypt_outputs(lattice, plan, found, rows=3)
    assert np.abs(scores - network().evaluate(rows(3))).max() <= plan.worst
    with pytest.raises(ValueError, match="rows must be"):
        evaluator.evaluate(next(kind.client.encrypt_rows(lattice, plan, rows(1))), ready, rows=2)


@pytest.mark.parametrize(
    ("path", "to"),
    [
        (("ciphertexts",), 0),
        (("ciphertexts",), 1000),
        (("layers",), []),
        (("layers", 0, "inputs"), 4),
        (("layers", 0, "limbs"), 1),
        (("layers", 0, "group"), 0),
        (("layers", 1, "squared"), True),
        (("layers", 0, "move", "giants"), 0),
        (("layers", 0, "move", "babies"), [0, 1 << 20]),
        (("layers", 0, "move", "target", "kind"), "heap"),
        (("layers", 0, "move", "target", "slots"), 12),
        (("layers", 0, "move", "last"), True),
        (("reads",), [[1 << 20]]),
        (("reads",), "all"),
        (("step",), 2.0**-40),
        (("flood_bits",), 39),
        (("flood_bits",), 40),
        (("reply_scale",), 1.0),
        (("input_scale",), 2.0**300),
        (("centre",), [0.0]),
    ],
)
def test_what_does_not_fit_is_refused(single: Compiled, path: tuple[Any, ...], to: object) -> None:
    # Canonical JSON writes large floats without a point.
    value = json.loads(single.public.to_bytes(), parse_int=lambda text: int(text) if len(text) < 16 else float(text))
    assert canonical_json(value) == single.public.to_bytes(), "the control: it is taken as it was"
    inner = value["plan"]
    for step in path[:-1]:
        inner = inner[step]
    inner[path[-1]] = to
    with pytest.raises(IntegrityError):
        PublicModel.from_bytes(canonical_json(value))


def test_changed_weights_are_refused(tmp_path: Path, single: Compiled) -> None:
    write_model(tmp_path / "model", single.public, single.weights)
    path = tmp_path / "model" / WEIGHTS_FILE
    content = path.read_bytes()
    for at in (0, 40, len(content) - 1):
        path.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
        with pytest.raises(IntegrityError):
            read_model(tmp_path / "model")
    for wrong in (content[100:], single.weights.content[-8:]):
        with pytest.raises(ValueError, match="more or fewer"):
            single.public.kind.server.unpack(wrong, single.public.plan)


def test_weights_that_a_changed_plan_cannot_hold_are_refused(tmp_path: Path, single: Compiled) -> None:
    write_model(tmp_path / "model", single.public, single.weights)
    value = json.loads(single.public.to_bytes(), parse_int=lambda text: int(text) if len(text) < 16 else float(text))
    value["plan"]["layers"][0]["weight_scale"] = 2.0**300
    (tmp_path / "model" / PUBLIC_FILE).write_bytes(canonical_json(value))
    with pytest.raises(IntegrityError, match="too large to be rounded"):
        read_model(tmp_path / "model")


def test_a_linear_model_is_sent_elsewhere() -> None:
    program = Program(input_shape=(3,), layers=network().layers[:1], meaning=Meaning(gives="values"))
    with pytest.raises(UsageError, match="is linear"):
        compile_single(program, rows(50))


def test_the_expected_batch_chooses_the_packing() -> None:
    found = {batch: compile_model(network(), rows(300), batch=batch, agreement=0.99) for batch in (1, 4096)}
    assert found[4096].public.kind.name == "network"
    kinds = [compile_single(network(), rows(300), agreement=0.99), compile_model(network(), rows(300), agreement=0.99)]
    speeds = measure_speeds()
    cheapest = min(kinds, key=lambda one: seconds(one.public.plan, speeds, rows=1, secret=one.evaluator.secret).server)
    assert found[1].public.kind is cheapest.public.kind
    with pytest.raises(ValueError, match="batch must be"):
        compile_model(network(), rows(300), batch=0)
