"""`wardline he`: from coefficients to keys and encrypted rows, and errors that say what to do."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from wardline.cli.app import cli
from wardline.core import (
    DataError,
    IntegrityError,
    KeyAccessError,
    MissingExtraError,
    UsageError,
    WardlineError,
    WorkspaceError,
)
from wardline.he.compiled.coefficients import write_coefficients
from wardline.he.compiler.layers import Affine
from wardline.he.compiler.program import Meaning, Program

FEATURES = ("income", "debt")


def he(*words: object) -> Result:
    return CliRunner().invoke(cli, ["he", *map(str, words)])


def error(*words: object) -> WardlineError:
    found = he(*words).exception
    assert isinstance(found, WardlineError), found
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A compiled model, a table and keys."""
    folder = tmp_path_factory.mktemp("he")
    rows = np.random.default_rng(0).normal(size=(200, 2)) * (2e4, 5e3) + (5e4, 8e3)
    with (folder / "rows.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("name", *FEATURES), *[("x", *row) for row in rows.tolist()]])
    layer = Affine(weights=np.array([[3e-5, -2e-4]]), offset=np.array([0.1]))
    meaning = Meaning(gives="decision", classes=("refuse", "grant"), link="sigmoid")
    write_coefficients(
        folder / "model.json", Program(input_shape=(2,), layers=(layer,), meaning=meaning, features=FEATURES)
    )
    done = he("compile", folder / "model.json", "--sample", folder / "rows.csv", "--out", folder / "compiled")
    assert done.exit_code == 0, done.output
    assert "decisions equal on" in done.output
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WARDLINE_PASSPHRASE", "four random words here")
        assert he("keys", folder / "branch", "--model", folder / "compiled").exit_code == 0
    return folder


def test_a_model_is_explained(folder: Path) -> None:
    text = he("explain", folder / "compiled").output
    assert "income:" in text
    assert "above 0 for grant, else refuse" in text
    told = json.loads(he("explain", folder / "compiled" / "public.json", "--format", "json").output)
    assert told["digest"] in text
    assert told["features"] == list(FEATURES)
    assert "predicted for one row in one batch: server" in text


def test_compilation_tells_its_figures_as_json(folder: Path, tmp_path: Path) -> None:
    words = ("compile", folder / "model.json", "--sample", folder / "rows.csv", "--format", "json", "--refuse")
    told = json.loads(he(*words, "--out", tmp_path / "out").output)
    assert told["agreement"] >= 0.999
    assert told["rows"] == 200
    assert json.loads((tmp_path / "out" / "public.json").read_text())["out_of_range"] == "refuse"


def test_keys_are_never_overwritten_and_fit_their_model(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WARDLINE_PASSPHRASE", "four random words here")
    assert isinstance(error("keys", folder / "branch", "--model", folder / "compiled"), KeyAccessError)
    words = ("encrypt", folder / "rows.csv", "--key", folder / "branch.secret", "--out", tmp_path / "r")
    done = he(*words, "--model", folder / "compiled")
    assert done.exit_code == 0
    assert "200 rows" in done.output
    monkeypatch.setenv("WARDLINE_PASSPHRASE", "four other words here")
    assert isinstance(error(*words, "--model", folder / "compiled"), KeyAccessError)


def test_tables_that_do_not_fit_are_named(folder: Path, tmp_path: Path) -> None:
    key = ("--key", folder / "branch.secret", "--model", folder / "compiled", "--out", tmp_path / "r")
    for content, message in {
        "income\n1\n": "lacks the column 'debt'",
        "income,debt\n1,\n2,3\n": "'debt' has missing values",
        "income,debt\n1,much\n": "'debt' holds something else",
    }.items():
        (tmp_path / "t.csv").write_text(content)
        found = error("encrypt", tmp_path / "t.csv", *key)
        assert isinstance(found, DataError)
        assert message in str(found)
        assert found.hint


def test_models_that_cannot_be_read_are_refused(folder: Path, tmp_path: Path) -> None:
    rest = ("--sample", folder / "rows.csv", "--out", tmp_path / "out")
    (tmp_path / "m.json").write_text("{}")
    assert isinstance(error("compile", tmp_path / "m.json", *rest), IntegrityError)
    (tmp_path / "m.pkl").write_bytes(b"\x80\x04.")
    assert isinstance(error("compile", tmp_path / "m.pkl", *rest), UsageError)
    found = error("compile", tmp_path / "m.onnx", *rest)
    assert isinstance(found, (UsageError, MissingExtraError))
    assert isinstance(error("compile", folder / "model.json", *rest, "--margin", "-1"), UsageError)
    assert isinstance(error("explain", tmp_path), DataError)


def test_certificates_are_made(tmp_path: Path) -> None:
    assert he("certificates", tmp_path / "tls", "--client", "a", "--client", "b").exit_code == 0
    assert {path.name for path in (tmp_path / "tls").glob("*.pem")} == {"authority.pem", "server.pem", "a.pem", "b.pem"}
    assert isinstance(error("certificates", tmp_path / "tls", "--client", "a"), UsageError)


def test_serving_needs_its_files(folder: Path, tmp_path: Path) -> None:
    assert he("certificates", tmp_path / "tls", "--client", "a").exit_code == 0
    tls = ("--authority", tmp_path / "tls" / "authority.pem", "--certificate", tmp_path / "tls" / "server.pem")
    rest = (*tls, "--tls-key", tmp_path / "tls" / "server.key", "--account", tmp_path / "rows.sqlite", "--rows", 10)
    assert isinstance(error("serve", tmp_path, *rest), DataError)
    found = error("serve", folder / "compiled", *rest, "--client", "a:5")
    assert isinstance(found, UsageError)
    assert "--client branch=5000" in found.hint


def test_a_secret_key_without_its_public_one_is_taken_back(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WARDLINE_PASSPHRASE", "four random words here")

    def full(*_: object, **__: object) -> None:
        raise WorkspaceError("no space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("wardline.he.compiled.parcels.write_keys_parcel", full)
        assert isinstance(error("keys", tmp_path / "late", "--model", folder / "compiled"), WorkspaceError)
    assert not list(tmp_path.iterdir())
    assert he("keys", tmp_path / "late", "--model", folder / "compiled").exit_code == 0
