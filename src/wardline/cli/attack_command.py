"""`wardline attack`: single attacks, listed, run, and set side by side."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from wardline.cli.options import FORMAT
from wardline.cli.progress import choose_progress
from wardline.cli.target_options import limit_options, target_options
from wardline.core.errors import UsageError


@click.group("attack")
def command() -> None:
    """List attacks, run one on a model, or compare several.

    An audit (`wardline audit`) chooses attacks and judges what they find; here a person does.
    """


@command.command("list", epilog="Example: wardline attack list evasion. Or: wardline attack list evasion.pgd")
@click.argument("name", required=False)
@FORMAT
def list_(*, name: str | None, output_format: str) -> None:
    """List all attacks, those of a family, or the settings of one: NAME is a family or an id."""
    from wardline.attacks.catalogue import find_attack, known_attacks

    entries = [entry for entry in known_attacks() if name in {None, entry.family, entry.id}]
    if not entries:
        find_attack(str(name))
    settings: dict[str, Any] = {}
    if len(entries) == 1 and entries[0].id == name:
        from wardline.run.attacking import settings_of

        settings = settings_of(entries[0])
    if output_format == "json":
        rows = [
            {
                "id": entry.id,
                "family": entry.family,
                "needs": entry.needs.value,
                "summary": entry.summary,
                "paper": entry.paper,
            }
            for entry in entries
        ]
        click.echo(json.dumps(rows if not settings else {**rows[0], "settings": settings}, indent=2))
        return
    width = max(len(entry.id) for entry in entries)
    for entry in entries:
        click.echo(f"{entry.id:<{width}}  {entry.needs.value:<9}  {entry.summary}")
    if len(entries) == 1:
        click.echo(f"\npaper: {entries[0].paper}")
        for key, default in settings.items():
            click.echo(f"  --set {key}={default}")


@command.command(
    "run",
    epilog="Example: wardline attack run evasion.pgd runs/first/model --data x.npz --radius 0.03 --set steps=100",
)
@click.argument("attack")
@click.argument("model")
@target_options
@limit_options
@click.option("--set", "words", multiple=True, help="A setting of the attack, NAME=VALUE; repeatable.")
@click.option("--examples", type=click.IntRange(min=1), default=1000, show_default=True, help="The most examples.")
@click.option("--queries", type=click.IntRange(min=1), help="The most predictions for this attack.")
@click.option("--seconds", type=float, help="The most time.")
@click.option("--tolerate", type=float, default=0.0, show_default=True, help="Success rate that is accepted.")
@click.option("--quiet", is_flag=True, help="Do not show progress.")
@FORMAT
@click.pass_context
def run(
    ctx: click.Context,
    /,
    *,
    attack: str,
    model: str,
    words: tuple[str, ...],
    examples: int,
    queries: int | None,
    seconds: float | None,
    tolerate: float,
    quiet: bool,
    output_format: str,
    **chosen: Any,
) -> None:
    """Run the attack called ATTACK on MODEL.

    MODEL is a folder of a model, an import path package.module:name (which runs that code), or an http(s) address.
    The exit code is the verdict's: 0 withstood, 1 the attack succeeded, 5 inconclusive.
    """
    from wardline.attacks.catalogue import find_attack
    from wardline.attacks.protocol.ledger import BudgetSpent
    from wardline.attacks.protocol.result import Budget
    from wardline.run.attacking import make_attack
    from wardline.run.audited import Chosen, ball_for, open_audited

    entry = find_attack(attack)
    opened = open_audited(model, Chosen(**_plain(chosen)), progress=choose_progress(quiet=quiet))
    made = make_attack(entry, words=_words(words), ball=ball_for(opened.target.spec, chosen["norm"], chosen["radius"]))
    budget = _budget(Budget, queries=queries, seconds=seconds, tolerated=tolerate)
    try:
        result = made.run(opened.target, opened.data_for(entry, most=examples), budget, chosen["seed"])
    except BudgetSpent as spent:
        raise UsageError(
            f"{entry.id} ended before it had a result: {spent}",
            hint="allow more by --queries, --seconds or --cap; of a service, check that it runs",
        ) from spent
    click.echo(json.dumps(result.to_json(), indent=2) if output_format == "json" else "\n".join(_told(result)))
    ctx.exit(result.verdict.exit_code)


@command.command(
    "compare",
    epilog="Example: wardline attack compare plain hardened --attacks evasion.pgd,evasion.square --data held-out.npz",
)
@click.argument("models", nargs=-1, required=True)
@click.option("--attacks", required=True, help="Ids of attacks, separated by commas.")
@target_options
@limit_options
@click.option("--examples", type=click.IntRange(min=1), default=500, show_default=True, help="The most examples.")
@click.option("--seconds", type=float, help="The most time for each attack on each model.")
@click.option("--page", type=click.Path(path_type=Path), help="Also write the comparison as an HTML page.")
@click.option("--quiet", is_flag=True, help="Do not show progress.")
@FORMAT
def compare(
    *,
    models: tuple[str, ...],
    attacks: str,
    examples: int,
    seconds: float | None,
    page: Path | None,
    quiet: bool,
    output_format: str,
    **chosen: Any,
) -> None:
    """Set the accuracy of MODELS under several attacks side by side, over the same examples."""
    from wardline.attacks.catalogue import find_attack
    from wardline.attacks.protocol.result import Budget
    from wardline.core import write_atomic
    from wardline.run.attacking import compare as run_all
    from wardline.run.attacking import make_attack
    from wardline.run.audited import Chosen, ball_for, open_audited

    progress = choose_progress(quiet=quiet)
    entries = [find_attack(one.strip()) for one in attacks.split(",")]
    opened = [open_audited(model, Chosen(**_plain(chosen)), progress=progress) for model in models]
    ball = ball_for(opened[0].target.spec, chosen["norm"], chosen["radius"])
    comparison = run_all(
        [one.target for one in opened],
        [make_attack(entry, words={}, ball=ball) for entry in entries],
        opened[0].examples(most=examples),
        budget=_budget(Budget, queries=None, seconds=seconds, tolerated=0.0),
        seed=chosen["seed"],
        progress=progress,
    )
    if page is not None:
        write_atomic(page, comparison.page())
    if output_format == "json":
        click.echo(json.dumps(comparison.to_json(), indent=2))
        return
    for line in _table(comparison.columns, comparison.rows):
        click.echo(line)
    if any("?" in cell for row in comparison.rows for cell in row):
        click.echo("\n? : may be the attack's fault; --format json or --page tells why")


def _plain(chosen: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in chosen.items() if name not in {"norm", "radius", "seed"}}


def _words(pairs: tuple[str, ...]) -> dict[str, str]:
    words = {}
    for pair in pairs:
        name, sign, value = pair.partition("=")
        if not sign or not name:
            raise UsageError(f"{pair!r} is no setting", where="--set", hint="write NAME=VALUE, for example steps=100")
        words[name] = value
    return words


def _budget(kind: Any, **limits: Any) -> Any:
    try:
        return kind(**limits)
    except ValueError as error:
        raise UsageError(str(error), hint="--queries, --seconds and --tolerate are limits of the attack") from error


def _told(result: Any) -> list[str]:
    lines = [str(result), f"  access  {result.threat.access.value}; {result.threat.limits or 'no limits'}"]
    for name in ("clean_accuracy", "robust_accuracy"):
        share = result.details.get(name)
        if share:
            lines.append(f"  {name.replace('_', ' ')}  {share['value']:.3f} {share['interval']}")
    lines += [f"  {check.outcome.value:<12}  {check.name}: {check.detail}" for check in result.checks]
    return [*lines, f"  paper  {result.paper}"]


def _table(columns: tuple[str, ...], rows: tuple[tuple[str, ...], ...]) -> list[str]:
    widths = [max(len(row[index]) for row in (columns, *rows)) for index in range(len(columns))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in (columns, *rows)
    ]
