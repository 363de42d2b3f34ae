"""Private lookups by commands, each in a process of its own; all that passes between them are files."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

pytest.importorskip("tenseal")
pytest.importorskip("numba")

from wardline.cli.app import cli
from wardline.core import Seeds, WardlineError
from wardline.he.seal.keyfile import read_secret_key
from wardline.he.seal.keys import unsafe_export_residues

PASSPHRASE = "four random words here"

pytestmark = pytest.mark.slow


def run(folder: Path, *words: object, passphrase: bool = True) -> str:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    environment.pop("WARDLINE_PASSPHRASE", None)
    if passphrase:
        environment["WARDLINE_PASSPHRASE"] = PASSPHRASE
    command = [sys.executable, "-m", "wardline", "he", "lookup", *map(str, words)]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=True)
    return done.stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table and a file of records, with their databases, and a client's keys for the table."""
    folder = tmp_path_factory.mktemp("lookup")
    rows = "".join(f"item {i},{i * 37 % 1000 / 8},{'yes' if i % 3 else ''}\n" for i in range(5000))
    (folder / "prices.csv").write_text("name,price,in stock\n" + rows)
    run(folder, "build", "prices.csv", "--out", "server", passphrase=False)
    (folder / "client").mkdir()
    (folder / "client" / "public.json").write_bytes((folder / "server" / "public.json").read_bytes())
    run(folder, "keys", "client/branch", "--database", "client/public.json")
    return folder


def test_a_row_is_looked_up(folder: Path) -> None:
    client = "--database", "client/public.json", "--key", "client/branch.secret"
    told = json.loads(run(folder, "ask", 4321, *client, "--out", "question", "--format", "json"))
    assert told["bytes"] == (folder / "question").stat().st_size
    # The server has no passphrase, and no secret key.
    server = "--database", "server", "--evaluation", "client/branch.evaluation"
    run(folder, "answer", "question", *server, "--threads", 2, "--out", "reply", passphrase=False)
    row = json.loads(run(folder, "read", "reply", "--question", "question", *client, "--format", "json"))
    assert row == {"name": "item 4321", "price": 4321 * 37 % 1000 / 8, "in stock": "yes"}
    text = run(folder, "read", "reply", "--question", "question", *client)
    assert "name: item 4321\n" in text


def test_what_the_server_sees_holds_no_secret(folder: Path) -> None:
    client = "--database", "client/public.json", "--key", "client/branch.secret"
    if not (folder / "question").exists():
        run(folder, "ask", 1, *client, "--out", "question")
    secret = unsafe_export_residues(read_secret_key(folder / "client/branch.secret", passphrase=PASSPHRASE))
    needles = [np.ascontiguousarray(limb[:8]).tobytes() for limb in secret]
    assert all(needle in secret.tobytes() for needle in needles)
    for name in ("question", "client/branch.evaluation", "server/database.bin", "server/public.json"):
        content = (folder / name).read_bytes()
        assert not any(needle in content for needle in needles)
    assert (folder / "client/branch.secret").stat().st_mode & 0o077 == 0
    assert (folder / "server/database.bin").stat().st_mode & 0o077 == 0


@pytest.fixture
def quick(folder: Path, monkeypatch: pytest.MonkeyPatch):
    """The commands in this process, for what needs no other one."""
    monkeypatch.chdir(folder)
    monkeypatch.setenv("WARDLINE_PASSPHRASE", PASSPHRASE)
    return lambda *words: CliRunner().invoke(cli, ["he", "lookup", *map(str, words)])


def test_a_record_of_bytes_is_looked_up(folder: Path, quick) -> None:
    records = Seeds(2).numpy("records").integers(0, 256, (300, 48), dtype=np.uint8)
    (folder / "records.bin").write_bytes(records.tobytes())
    built = quick("build", "records.bin", "--record-bytes", 48, "--out", "other", "--format", "json")
    assert json.loads(built.output)["records"] == 300
    assert quick("keys", "bytes", "--database", "other", "--format", "json").exit_code == 0
    client = "--database", "other", "--key", "bytes.secret"
    assert quick("ask", 299, *client, "--out", "asked").exit_code == 0
    answered = quick("answer", "asked", "--database", "other", "--evaluation", "bytes.evaluation", "--out", "got")
    assert answered.exit_code == 0
    read = quick("read", "got", "--question", "asked", *client, "--format", "json")
    assert json.loads(read.output) == {"hexadecimal": records[299].tobytes().hex()}
    assert quick("read", "got", "--question", "asked", *client).output == records[299].tobytes().hex() + "\n"
    assert quick("read", "got", "--question", "asked", *client, "--out", "record").exit_code == 0
    assert (folder / "record").read_bytes() == records[299].tobytes()
    wrong = quick("answer", "asked", "--database", "server", "--evaluation", "bytes.evaluation", "--out", "x")
    assert "another database" in str(wrong.exception)


def test_mistakes_are_told_with_a_remedy(folder: Path, quick) -> None:
    client = "--database", "client/public.json", "--key", "client/branch.secret"
    for words, told in (
        (("ask", 5000, *client, "--out", "x"), "indices go from 0 to 4999"),
        (("build", "prices.csv", "--record-bytes", 7919, "--out", "x"), "fill records up to one length"),
        (("build", "nothing.bin", "--record-bytes", 8, "--out", "x"), "cannot read"),
        (("keys", "client/branch", "--database", "client/public.json"), "choose another name"),
        (
            ("answer", "prices.csv", "--database", "server", "--evaluation", "client/branch.evaluation", "--out", "x"),
            "no file of a private lookup",
        ),
    ):
        found = quick(*words)
        assert isinstance(found.exception, WardlineError)
        assert told in f"{found.exception} {found.exception.hint}"
    assert not (folder / "x").exists()


def test_help_shows_an_example(quick) -> None:
    for name in ("build", "keys", "ask", "answer", "read"):
        found = quick(name, "--help")
        assert found.exit_code == 0
        assert f"Example: wardline he lookup {name}" in " ".join(found.output.split())
