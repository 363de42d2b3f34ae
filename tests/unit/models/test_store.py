import json
import os

import numpy as np
import pytest
import safetensors.numpy

from wardline.core import DataError, IntegrityError, WorkspaceError, canonical_json
from wardline.models import (
    Cnn,
    Logistic,
    Mlp,
    TrainedModel,
    build,
    columns,
    load,
    model_digest,
    model_files,
    model_from_files,
    save,
)
from wardline.models.architecture import ResNet

RESNET = ResNet(shape=(1, 8, 8), channels=(8, 16), blocks=(1, 1), classes=4, stride=2)


def model_of(architecture):
    network = build(architecture)
    return TrainedModel(
        architecture=architecture,
        parameters={name: value.detach().numpy() for name, value in network.named_parameters()},
        features=tuple(f"f{index}" for index in range(columns(architecture))),
        classes=tuple(f"c{index}" for index in range(architecture.classes)),
    )


@pytest.mark.parametrize(
    "architecture",
    [
        Logistic(inputs=3, classes=2, linear_inputs=2),
        Mlp(inputs=3, hidden=(4,), classes=2),
        Cnn(shape=(1, 8, 8), channels=(2,), hidden=3, classes=4),
        RESNET,
    ],
)
def test_a_model_comes_back_as_it_went(tmp_path, architecture):
    model = model_of(architecture)
    files = save(model, tmp_path / "new" / "folder")
    assert {file.name for file in files} == {file.name for file in (tmp_path / "new" / "folder").iterdir()}
    for path in (tmp_path / "new" / "folder", *files):
        back = load(path, sha256=model_digest(path))
        assert (back.architecture, back.features, back.classes) == (architecture, model.features, model.classes)
        for name, value in model.parameters.items():
            np.testing.assert_array_equal(back.parameters[name], value)


def test_the_same_model_gives_the_same_bytes(tmp_path):
    model = model_of(Mlp(inputs=3, hidden=(4,), classes=2))
    save(model, tmp_path / "a")
    save(load(tmp_path / "a"), tmp_path / "b")
    assert model_digest(tmp_path / "a") == model_digest(tmp_path / "b")


def test_the_files_are_plain_safetensors_and_json(tmp_path):
    model = model_of(Logistic(inputs=3, classes=2))
    description, weights = save(model, tmp_path)
    assert json.loads(description.read_text())["architecture"]["kind"] == "logistic"
    np.testing.assert_array_equal(safetensors.numpy.load_file(weights)["head.weight"], model.parameters["head.weight"])


def test_weights_of_another_residual_network_are_refused(tmp_path):
    """A stranger says that the same weights belong to a network with other blocks, strides or names."""
    save(model_of(RESNET), tmp_path)
    description = json.loads((tmp_path / "model.json").read_bytes())
    for key, value in (("blocks", [1, 2]), ("channels", [8, 24]), ("stride", 3), ("classes", 5), ("shape", [2, 8, 8])):
        broken = {**description, "architecture": {**description["architecture"], key: value}}
        (tmp_path / "model.json").write_bytes(canonical_json(broken))
        with pytest.raises(IntegrityError):
            load(tmp_path)
    (tmp_path / "model.json").write_bytes(canonical_json(description))
    assert load(tmp_path).architecture == RESNET


def test_a_residual_network_of_too_many_parameters_is_refused_before_its_weights_are_read(tmp_path):
    save(model_of(RESNET), tmp_path)
    description = json.loads((tmp_path / "model.json").read_bytes())
    description["architecture"] |= {"channels": [1 << 19, 1 << 19]}
    (tmp_path / "model.json").write_bytes(canonical_json(description))
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(IntegrityError, match="at most"):
        load(tmp_path)


def test_another_digest_is_refused(tmp_path):
    save(model_of(Logistic(inputs=3, classes=2)), tmp_path)
    with pytest.raises(IntegrityError, match="digest"):
        load(tmp_path, sha256="0" * 64)


def test_weights_of_another_model_are_refused(tmp_path):
    for name in ("a", "b"):
        save(model_of(Mlp(inputs=3, hidden=(4,), classes=2)), tmp_path / name)
    (tmp_path / "a" / "model.safetensors").write_bytes((tmp_path / "b" / "model.safetensors").read_bytes())
    with pytest.raises(IntegrityError, match="written with"):
        load(tmp_path / "a")


def test_a_missing_model_is_one_clear_error(tmp_path):
    with pytest.raises(DataError, match=r"model\.json: cannot read the model: no such file") as caught:
        load(tmp_path / "nowhere")
    assert "model.safetensors" in caught.value.hint


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_is_one_clear_error(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(WorkspaceError):
        save(model_of(Logistic(inputs=3, classes=2)), tmp_path)
    tmp_path.chmod(0o700)


def test_a_file_in_place_of_the_folder_is_one_clear_error(tmp_path):
    (tmp_path / "taken").write_text("")
    with pytest.raises(WorkspaceError):
        save(model_of(Logistic(inputs=3, classes=2)), tmp_path / "taken")


def test_the_files_in_memory_are_those_on_disk():
    model = model_of(Mlp(inputs=3, hidden=(4,), classes=2))
    files = model_files(model)
    np.testing.assert_array_equal(model_from_files(files).parameters["head.weight"], model.parameters["head.weight"])
    with pytest.raises(IntegrityError, match=r"there is no model\.json"):
        model_from_files({"model.safetensors": files["model.safetensors"]})
