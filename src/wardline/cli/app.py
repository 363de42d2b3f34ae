"""The command `wardline`: finds its subcommands by name, and turns every error into two lines and an exit code."""

from __future__ import annotations

import importlib
import sys
import traceback

import click

from wardline._version import __version__
from wardline.core.errors import WardlineError

COMMANDS = {
    "attack": "List attacks, run one on a model, or compare several.",
    "audit": "Attack MODEL within a time, judge what was found, and write signed evidence with a report.",
    "compare": "Show what trusting no one costs: the central and the local model side by side.",
    "data": "Look at a data set and infer its contract.",
    "explain": "Say what a code means and what to do about it.",
    "he": "Score data that the server never sees: compile a model, serve it, encrypt, score, decrypt.",
    "init": "Write a commented POLICY to start from; an existing file is never overwritten.",
    "keys": "Make signing keys.",
    "ledger": "Show what was released about each data set, limit it, and check that nothing was removed.",
    "policy": "Check, explain or document a policy.",
    "release": "Release the table that SPEC describes, under differential privacy.",
    "run": "Train, attack, judge and sign what POLICY describes.",
    "sweep": "Find the lowest epsilon at which the model of POLICY reaches a floor.",
    "synthesize": "Make a synthetic table near to the data of POLICY, under differential privacy.",
    "verify": "Check an evidence BUNDLE against a public key.",
}
"""Each command lives in the module of its name; these lines keep `--help` from importing them all."""


class LazyGroup(click.Group):
    """A group whose commands are imported when they are called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All commands, without importing one."""
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one command."""
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"wardline.cli.{cmd_name}_command")
        command = module.command
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands from the table above."""
        with formatter.section("Commands"):
            formatter.write_dl(sorted(COMMANDS.items()))


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="wardline")
@click.option("-v", "--verbose", is_flag=True, help="Show where an error came from.")
@click.pass_context
def cli(ctx: click.Context, *, verbose: bool) -> None:
    """Policy in, evidence out: train under a stated guarantee, attack the result, sign what was found.

    Exit codes: 0 pass, 1 a gate or check failed, 2 usage or policy error, 3 integrity, 4 internal
    error, 5 inconclusive.

    Example: wardline init --recipe breast-cancer policy.yaml && wardline run policy.yaml --dry-run
    """
    ctx.obj = {"verbose": verbose}


def main() -> None:
    """Run the command line and exit with its code."""
    verbose = any(word in ("-v", "--verbose") for word in sys.argv[1:])
    try:
        code = cli.main(standalone_mode=False)
    except click.exceptions.Exit as stop:
        code = stop.exit_code
    except click.Abort:
        click.echo("interrupted; the same command goes on where it stopped", err=True)
        code = 130
    except click.ClickException as error:
        error.show()
        code = 2
    except WardlineError as error:
        _show(error)
        if verbose:
            traceback.print_exc()
        code = error.exit_code
    except Exception as error:  # noqa: BLE001 (the last line of defence: a defect becomes exit code 4)
        click.echo(f"error: internal: {type(error).__name__}: {error}", err=True)
        click.echo("hint: this is a defect of wardline; -v shows where; what was finished is kept", err=True)
        if verbose:
            traceback.print_exc()
        code = 4
    sys.exit(code if isinstance(code, int) else 0)


def _show(error: WardlineError) -> None:
    click.echo(f"error: {error} [{error.code}]", err=True)
    if error.hint:
        click.echo(f"hint: {error.hint}", err=True)
