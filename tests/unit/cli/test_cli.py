"""The command line: help with an example for each command, exit codes, two-line errors."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from wardline.cli import app
from wardline.cli.app import COMMANDS, cli, main
from wardline.cli.explain_command import documented
from wardline.core import BudgetError, IntegrityError, PolicyError


def commands() -> dict[str, click.Command]:
    """Every command and subcommand by its full name."""
    context = click.Context(cli)
    found: dict[str, click.Command] = {}

    def add(name: str, command: click.Command | None) -> None:
        assert command is not None
        if isinstance(command, click.Group):
            for child, sub in command.commands.items():
                add(f"{name} {child}", sub)
        else:
            found[name] = command

    for name in COMMANDS:
        add(name, cli.get_command(context, name))
    return found


@pytest.mark.parametrize("name", sorted(commands()))
def test_every_command_has_help_with_an_example(name: str) -> None:
    result = CliRunner().invoke(cli, [*name.split(), "--help"])
    assert result.exit_code == 0
    assert re.search(rf"Example: wardline {name}", " ".join(result.output.split()))


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_the_table_of_commands_says_what_the_commands_say(name: str) -> None:
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    first = (command.help or "").split("\n\n")[0].replace("\n", " ")
    assert first == COMMANDS[name]
    assert command.name == name


def test_options_have_help() -> None:
    for name, command in commands().items():
        for parameter in command.params:
            if isinstance(parameter, click.Option):
                assert parameter.help, (name, parameter.name)


def test_explain_knows_every_code() -> None:
    texts = documented()
    assert {"WL-E201", "WL-G101"} <= set(texts)
    for code in texts:
        assert CliRunner().invoke(cli, ["explain", code.lower()]).output.startswith(code)


def invoke_main(monkeypatch: pytest.MonkeyPatch, error: BaseException | None, *words: str) -> int:
    def raising(**_: object) -> None:
        if error is not None:
            raise error

    monkeypatch.setattr(app.cli, "main", raising)
    monkeypatch.setattr("sys.argv", ["wardline", *words])
    with pytest.raises(SystemExit) as stop:
        main()
    code = stop.value.code
    assert isinstance(code, int)
    return code


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (None, 0),
        (PolicyError("bad", where="p:1", hint="do"), 2),
        (BudgetError("spent", hint="stop"), 1),
        (IntegrityError("changed", hint="do not use"), 3),
        (RuntimeError("a defect"), 4),
        (click.exceptions.Exit(5), 5),
        (click.UsageError("what?"), 2),
        (click.Abort(), 130),
    ],
)
def test_exit_codes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: BaseException | None, code: int
) -> None:
    assert invoke_main(monkeypatch, error) == code
    told = capsys.readouterr()
    assert told.out == ""
    assert "Traceback" not in told.err


def test_a_traceback_is_for_those_who_ask(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    invoke_main(monkeypatch, RuntimeError("a defect"), "-v")
    assert "Traceback" in capsys.readouterr().err


def run(*words: str) -> Result:
    return CliRunner().invoke(cli, list(words))


def test_init_writes_a_policy_that_checks_and_never_overwrites(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(
        "age,sick\n" + "\n".join(f"{20 + i % 50},{'yes' if i % 3 else 'no'}" for i in range(200))
    )
    policy = tmp_path / "policy.yaml"
    written = run("init", str(policy), "--source", "file:t.csv", "--target", "sick", "--project", "mine")
    assert written.exit_code == 0, written.exception
    assert run("policy", "check", str(policy)).output.startswith("ok: policy.yaml: project mine")
    assert "epsilon" in run("policy", "explain", str(policy)).output
    before = policy.read_bytes()
    assert run("init", str(policy), "--recipe", "breast-cancer").exit_code != 0
    assert policy.read_bytes() == before


def test_describe_prints_a_contract(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shown = run("data", "describe", "sklearn:breast_cancer", "--target", "diagnosis")
    assert shown.exit_code == 0, shown.exception
    assert "mean_radius" in shown.output
    assert "table_sha256: " in shown.output
