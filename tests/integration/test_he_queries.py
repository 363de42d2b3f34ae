"""`wardline he query` as separate processes: the server has no key, and its answers are those of DuckDB."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from wardline.cli.app import cli
from wardline.core import IntegrityError, KeyAccessError, WardlineError

pytest.importorskip("tenseal")
duckdb = pytest.importorskip("duckdb")

PAGE = Path(__file__).resolve().parents[2] / "docs" / "howto" / "query-encrypted-tables.md"
SECRET = "four random words here"


def run(*words: object, secret: str | None = None) -> str:
    """What a process of its own prints."""
    environment = {key: value for key, value in os.environ.items() if key != "WARDLINE_PASSPHRASE"}
    if secret is not None:
        environment["WARDLINE_PASSPHRASE"] = secret
    command = [sys.executable, "-m", "wardline", "he", "query", *map(str, words)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def inside(*words: object, secret: str | None = None) -> str:
    """What is printed in this process, which is faster."""
    done = CliRunner(env={"WARDLINE_PASSPHRASE": secret}).invoke(cli, ["he", "query", *map(str, words)])
    assert done.exit_code == 0, done.output
    return done.stdout


def error(*words: object, secret: str | None = None) -> str:
    """What is refused, in this process."""
    environment = {"WARDLINE_PASSPHRASE": secret}
    found = CliRunner(env=environment).invoke(cli, ["he", "query", *map(str, words)]).exception
    assert isinstance(found, WardlineError), found
    assert found.hint or isinstance(found, (IntegrityError, KeyAccessError))
    return f"{found} {found.hint}"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("queries")
    generator = np.random.default_rng(0)
    lines = ["sex,age,debt,state"]
    for _ in range(2500):
        debt = "" if generator.random() < 0.1 else f"{generator.normal(100, 400):.1f}"
        state = ["CA", "New York", "TX"][generator.integers(3)]
        lines.append(f"{'FM'[generator.integers(2)]},{generator.integers(18, 26)},{debt},{state}")
    (folder / "rows.csv").write_text("\n".join(lines) + "\n")
    return folder


def test_owner_and_server_are_separate_processes(home: Path) -> None:
    told = json.loads(run("plan", home / "rows.csv", "--out", home / "schema.json", "--format", "json"))
    assert told["left_out"] == {}
    assert told["noise_bits_left"] > 0
    assert all(seconds > 0 for seconds in told["seconds"].values())
    schema = json.loads((home / "schema.json").read_text())
    schema["columns"][2]["edges"] = ["0", "500"]
    (home / "schema.json").write_text(json.dumps(schema))
    words = ("encrypt", home / "rows.csv", "--schema", home / "schema.json", "--name", home / "owner")
    run(*words, "--out", home / "table", secret=SECRET)
    assert (home / "owner.secret").stat().st_mode & 0o077 == 0
    assert "exist" in error(*words, "--out", home / "other", secret=SECRET)
    # What lies at the server is the table without the key, and no row is in it.
    names = {path.name for path in (home / "table").iterdir()}
    assert {"table.json", "keys.bin"} < names
    assert not any("secret" in name for name in names)
    read = ("--table", home / "owner.table.json", "--key", home / "owner.secret", "--format", "json")
    with duckdb.connect() as connection:
        connection.execute(f"CREATE TABLE people AS SELECT * FROM read_csv('{home / 'rows.csv'}')")

        def expected(sql: str):
            return connection.execute(sql).fetchall()

        where = ('sex = F and state in (CA, "New York")', "sex = 'F' AND state IN ('CA', 'New York')")
        run("answer", home / "table", "--mean", "debt", "--where", where[0], "--out", home / "answer", "--threads", 2)
        found = json.loads(run("read", home / "answer", *read, secret=SECRET))
        ((total, count),) = expected(
            f"SELECT sum(CAST(debt AS DECIMAL(18, 1))), count(debt) FROM people WHERE {where[1]}"
        )
        assert (found["sum"], found["count"]) == (str(total), count)
        assert found["mean"] == pytest.approx(float(total) / count, rel=1e-14)
        assert where[0] in found["query"].replace("mean of debt where ", "")

        (home / "query.json").write_text(json.dumps({"histogram": "age", "where": "debt >= 0 and sex != M"}))
        run("answer", home / "table", "--query", home / "query.json", "--out", home / "answer")
        found = json.loads(run("read", home / "answer", *read, "--query", home / "query.json", secret=SECRET))
        rows = expected("SELECT age, count(*) FROM people WHERE debt >= 0 AND sex = 'F' GROUP BY 1 ORDER BY 1")
        assert list(found["histogram"].values()) == [rows for _, rows in rows]

    assert "another query" in error("read", home / "answer", *read, "--count", "--where", "sex=F", secret=SECRET)
    assert "passphrase" in error("read", home / "answer", *read, secret="five other random words")


def test_what_cannot_be_asked_or_read_is_refused(home: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        words = (
            "encrypt",
            home / "rows.csv",
            "--name",
            tmp_path / name,
            "--filters",
            0,
            "--out",
            tmp_path / f"t-{name}",
        )
        inside(*words, secret=SECRET)
    inside("answer", tmp_path / "t-one", "--histogram", "sex", "--out", tmp_path / "answer")
    keys = {
        name: ("--table", tmp_path / f"{name}.table.json", "--key", tmp_path / f"{name}.secret")
        for name in ("one", "two")
    }
    assert "another table" in error("read", tmp_path / "answer", *keys["two"], secret=SECRET)
    mixed = (*keys["one"][:2], *keys["two"][2:])
    assert "not the key" in error("read", tmp_path / "answer", *mixed, secret=SECRET)
    for words, message in {
        ("--sum", "height"): "no column 'height'",
        ("--count", "--where", "age >= 99"): "excludes every row",
        ("--count", "--where", "debt > 7"): "its edges: ",
        ("--count", "--where", "sex = F and state = CA"): "takes 1 products",
        ("--count", "--where", "sex = X"): "no category 'X'",
        ("--count", "--where", "sex ="): "ends too early",
        ("--count", "--where", " "): "the filter is empty",
        ("--count",): "has 2500 rows",
        ("--count", "--sum", "age"): "one of --count",
        ("--sum", "age", "--query", "x"): "not both",
        ("--query", "x"): "as JSON",
    }.items():
        assert message in error("answer", tmp_path / "t-one", *words, "--out", tmp_path / "x")
    assert not (tmp_path / "x").exists()
    (tmp_path / "empty.csv").write_text("sex,age\n")
    assert "empty" in error("plan", tmp_path / "empty.csv")
    (tmp_path / "schema.json").write_text("{")
    assert "as JSON" in error("plan", home / "rows.csv", "--schema", tmp_path / "schema.json")


def test_the_server_needs_no_seal(home: Path, tmp_path: Path) -> None:
    """Whoever answers imports neither SEAL nor what reads its files."""
    program = (
        "import sys, wardline.he.queries.evaluation, wardline.he.queries.folder, wardline.he.queries.answers\n"
        "sys.exit(any(name.split('.')[0] in ('tenseal', 'zstandard') or name.startswith('wardline.he.seal') "
        "for name in sys.modules))"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_the_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The code and the commands of the page, in the order in which they stand there."""
    text = PAGE.read_text()
    steps = re.findall(r"```python\n(.*?)```|^wardline (he query [^\n]*)$", text, flags=re.DOTALL | re.MULTILINE)
    assert [bool(code) for code, _ in steps] == [True, False, True, False, False, False, False, False, True]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WARDLINE_PASSPHRASE", SECRET)
    printed = []
    for code, command in steps:
        if code:
            exec(compile(code, str(PAGE), "exec"), {})
            continue
        done = CliRunner().invoke(cli, shlex.split(command))
        assert done.exit_code == 0, done.output
        printed.append(done.output)
    with duckdb.connect() as connection:
        connection.execute("CREATE TABLE people AS SELECT * FROM read_csv('people.csv')")
        sql = "SELECT sum(CAST(debt AS DECIMAL(18, 1))), count(debt) FROM people WHERE sex = 'F' AND age >= 30"
        ((total, count),) = connection.execute(sql).fetchall()
        assert f"count: {count}\nsum: {total}\n" in printed[-2]
        counts = dict(connection.execute("SELECT state, count(*) FROM people WHERE sex = 'F' GROUP BY 1").fetchall())
        assert json.loads(printed[-1])["histogram"] == counts
    assert capsys.readouterr().out == "{'sum': '113'}\n"


@pytest.mark.data
def test_a_real_table_is_answered_exactly(data_root: Path, tmp_path: Path) -> None:
    source = data_root / "adult" / "train.parquet"
    schema = {
        "columns": [
            {"kind": "category", "name": "sex", "categories": ["Female", "Male"]},
            {"kind": "category", "name": "income", "categories": ["<=50K", ">50K"]},
            {"kind": "number", "name": "age", "low": 17, "high": 90, "edges": [30, 45, 60]},
            {"kind": "number", "name": "capital_gain", "low": 0, "high": 99999, "edges": [1]},
        ]
    }
    (tmp_path / "schema.json").write_text(json.dumps(schema))
    words = ("encrypt", source, "--schema", tmp_path / "schema.json", "--name", tmp_path / "owner")
    inside(*words, "--filters", 2, "--out", tmp_path / "table", secret=SECRET)
    read = ("--table", tmp_path / "owner.table.json", "--key", tmp_path / "owner.secret", "--format", "json")
    where = ("--where", "sex = Female and age >= 30 and age < 60")
    sql = "FROM people WHERE sex = 'Female' AND age >= 30 AND age < 60"
    with duckdb.connect() as connection:
        connection.execute(f"CREATE VIEW people AS SELECT * FROM '{source}'")
        inside("answer", tmp_path / "table", "--sum", "capital_gain", *where, "--out", tmp_path / "sum")
        found = json.loads(inside("read", tmp_path / "sum", *read, secret=SECRET))
        ((total,),) = connection.execute(f"SELECT sum(capital_gain) {sql}").fetchall()
        assert found["sum"] == str(int(total))
        inside("answer", tmp_path / "table", "--histogram", "income", *where, "--out", tmp_path / "histogram")
        found = json.loads(inside("read", tmp_path / "histogram", *read, secret=SECRET))
        assert found["histogram"] == dict(connection.execute(f"SELECT income, count(*) {sql} GROUP BY 1").fetchall())
