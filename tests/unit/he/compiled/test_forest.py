"""Compiled forests: written, read and scored like models of other kinds, and exact."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from wardline.core import IntegrityError
from wardline.he.compiled.compiling import Compiled, compile_model
from wardline.he.compiled.folder import read_model, write_model
from wardline.he.compiled.public_model import PublicModel
from wardline.he.seal.bridge import SealLattice

ensemble = pytest.importorskip("sklearn.ensemble")


def rows(count: int) -> np.ndarray:
    return np.random.default_rng(3).normal(size=(count, 3))


@pytest.fixture(scope="module")
def forest() -> Compiled:
    labels = np.where(rows(400)[:, 0] > rows(400)[:, 1], "yes", "no")
    model = ensemble.RandomForestClassifier(2, max_depth=2, random_state=0).fit(rows(400), labels)
    return compile_model(model, rows(300), features=("a", "b", "c"))


def test_answers_are_the_rounded_forests(tmp_path: Path, forest: Compiled) -> None:
    assert (forest.public.kind.name, forest.public.meaning.classes) == ("forest", ("no", "yes"))
    assert PublicModel.from_bytes(forest.public.to_bytes()).digest == forest.public.digest
    write_model(tmp_path / "model", forest.public, forest.weights)
    evaluator = read_model(tmp_path / "model")
    public, kind, plan = evaluator.public, evaluator.public.kind, evaluator.public.plan
    lattice = SealLattice.generate(plan.parameters)
    keys = kind.make_keys(lattice, plan)
    evaluator.check_keys(keys)
    some = rows(9)
    (columns,) = kind.client.encrypt_rows(lattice, plan, some, out_of_range=public.out_of_range)
    found = evaluator.evaluate(columns, evaluator.ready(keys), rows=9)
    public.check_replies(found)
    scores = kind.client.decrypt_outputs(lattice, plan, [found], rows=9)
    assert np.array_equal(scores, evaluator.secret.simulate(some, plan))
    assert (public.charged(9), public.outside(some * 1e6)) == (9, 0)
    assert "compared with" in kind.public.describe_inputs(plan, public.features)[0]
    with pytest.raises(IntegrityError, match="keys are others"):
        evaluator.check_keys(replace(keys, relinearisation=None))


def test_a_forest_is_compiled_only_if_it_decides_alike(forest: Compiled) -> None:
    assert forest.fidelity.agreement is not None
    assert forest.fidelity.agreement >= 0.999
