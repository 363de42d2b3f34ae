"""Models from memory and from files; what is none is refused by name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from wardline.core import DataError, UsageError
from wardline.he.compiled.coefficients import write_coefficients
from wardline.he.compiled.sources import program_from_path, program_of
from wardline.he.compiler.program import Program


def test_coefficients_and_saved_programs_are_read(tmp_path: Path, program: Program, rows: np.ndarray) -> None:
    pytest.importorskip("safetensors")
    from wardline.he.compiler.store import save_program

    write_coefficients(tmp_path / "model.json", program)
    save_program(program, tmp_path / "folder")
    for path in (tmp_path / "model.json", tmp_path / "folder"):
        found = program_from_path(path)
        assert found.features == program.features
        assert np.allclose(found.evaluate(rows), program.evaluate(rows))
        assert program_of(str(path), (3,), features=("p", "q", "r")).features == ("p", "q", "r")


def test_a_model_of_the_house_is_read(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    from wardline.core import Seeds
    from wardline.models import Mlp
    from wardline.models.architecture import parameter_shapes
    from wardline.models.store import save
    from wardline.models.trained import TrainedModel

    architecture = Mlp(inputs=3, hidden=(4,), classes=2)
    generator = Seeds(0).numpy("house")
    parameters = {
        name: generator.normal(size=shape).astype(np.float32) for name, shape in parameter_shapes(architecture).items()
    }
    model = TrainedModel(
        architecture=architecture, parameters=parameters, features=("a", "b", "c"), classes=("no", "yes")
    )
    save(model, tmp_path / "model")
    found = program_from_path(tmp_path / "model")
    assert (found.features, found.meaning.classes) == (("a", "b", "c"), ("no", "yes"))
    assert not found.exact, "its activations are still to be fitted"


def test_what_torch_gives_goes_by_its_outputs(rows: np.ndarray) -> None:
    torch = pytest.importorskip("torch")
    for outputs, gives in ((1, "decision"), (3, "logits")):
        model = torch.nn.Sequential(torch.nn.Linear(3, outputs))
        assert program_of(model, (3,)).meaning.gives == gives
    assert program_of(model, (3,), gives="values").meaning.gives == "values"


def test_what_is_no_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.pkl").write_bytes(b"x")
    (tmp_path / "empty").mkdir()
    for path in (tmp_path / "model.pkl", tmp_path / "empty", tmp_path):
        with pytest.raises(UsageError, match="no model that can be compiled"):
            program_from_path(path)
    with pytest.raises(DataError):
        program_from_path(tmp_path / "missing.json")
    with pytest.raises(DataError):
        program_from_path(tmp_path / "missing.onnx")
    with pytest.raises(UsageError, match="no model that is read"):
        program_of({}, (3,))
