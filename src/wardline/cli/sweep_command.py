"""`wardline sweep`: the lowest epsilon at which the model is still good enough."""

from __future__ import annotations

import json
from pathlib import Path

import click

from wardline.cli.options import FORMAT
from wardline.cli.progress import choose_progress
from wardline.core.errors import UsageError

_DEFAULT = "0.25,0.5,1,2,4,8"


@click.command(
    "sweep",
    epilog="Example: wardline sweep policy.yaml --floor accuracy=0.84 --public last-years-consented-rows.parquet",
)
@click.argument("policy", type=click.Path(path_type=Path))
@click.option("--floor", required=True, help="What the model must reach, for example accuracy=0.84.")
@click.option("--public", type=click.Path(path_type=Path), help="Rows that nobody has to protect, to try on for free.")
@click.option("--charge", is_flag=True, help="Try on the protected rows themselves, in secret, and charge the budget.")
@click.option("--epsilons", default=_DEFAULT, show_default=True, help="Where to look.")
@click.option("--repeats", default=5, show_default=True, help="Trainings at each epsilon, on public rows.")
@click.option("--runs", default=8.0, show_default=True, help="Expected number of trainings, with --charge.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder of the sweep; by default sweeps/PROJECT.")
@click.option("--write", type=click.Path(path_type=Path), help="The ready policy; by default POLICY.swept.yaml.")
@click.option("--data", type=click.Path(path_type=Path), help="A local copy of the data; its digest is checked.")
@click.option("--ledger", type=click.Path(path_type=Path), help="Budget ledger; by default .wardline/ledger.sqlite.")
@click.option("--dry-run", is_flag=True, help="With --charge: show what would be charged; train and charge nothing.")
@click.option("--quiet", is_flag=True, help="Do not show progress.")
@FORMAT
@click.pass_context
def command(
    ctx: click.Context,
    *,
    policy: Path,
    floor: str,
    public: Path | None,
    charge: bool,
    epsilons: str,
    repeats: int,
    runs: float,
    out: Path | None,
    write: Path | None,
    data: Path | None,
    ledger: Path | None,
    dry_run: bool,
    quiet: bool,
    output_format: str,
) -> None:
    """Find the lowest epsilon at which the model of POLICY reaches a floor.

    Trying settings on protected rows reveals something about them. So a sweep uses public rows (--public), which
    costs nothing, or the protected ones in secret (--charge), which costs more than a single training. It writes a
    policy with the settings it found.

    The exit code is 0 if the floor is reached, 1 if not.
    """
    if (public is None) == (not charge):
        raise UsageError(
            "a sweep on protected rows costs budget, so say which rows to try on",
            where="wardline sweep",
            hint="give --public FILE with rows that nobody has to protect, or --charge (add --dry-run to see the cost)",
        )
    from wardline.run.sweep import Floor
    from wardline.run.sweeps import SweepOptions, SweepSettings, cost_of_sweep, sweep

    settings = SweepSettings(
        floor=Floor.parse(floor), epsilons=_numbers(epsilons), repeats=repeats, runs=runs, public=public
    )
    progress = choose_progress(quiet=quiet)
    if dry_run:
        cost = cost_of_sweep(policy, settings=settings, local_copy=data, progress=progress)
        text = f"would charge epsilon {cost.epsilon:.4g} at delta {cost.delta:g}, once; nothing was computed"
        click.echo(json.dumps({"epsilon": cost.epsilon, "delta": cost.delta}) if output_format == "json" else text)
        return
    outcome = sweep(
        policy,
        settings=settings,
        options=SweepOptions(
            out=out,
            write=write or policy.with_suffix(".swept.yaml"),
            ledger=ledger or Path(".wardline") / "ledger.sqlite",
            local_copy=data,
        ),
        progress=progress,
    )
    click.echo(json.dumps(outcome.value, indent=2) if output_format == "json" else "\n".join(outcome.lines))
    ctx.exit(0 if outcome.reached else 1)


def _numbers(text: str) -> tuple[float, ...]:
    try:
        found = tuple(float(one) for one in text.split(","))
    except ValueError:
        found = ()
    if not found or not all(0 < one < 1000 for one in found):
        raise UsageError(
            f"{text!r} is no list of epsilons", where="--epsilons", hint="write numbers above 0, for example 0.5,1,2"
        )
    return found
