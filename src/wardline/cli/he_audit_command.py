"""`wardline he audit`: attack the replies of a compiled model before it is served."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from wardline.cli.options import FORMAT
from wardline.cli.progress import choose_progress


@click.command("audit", epilog="Example: wardline he audit compiled --format json")
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--seed", type=int, default=0, show_default=True, help="Of the rows that are tried.")
@click.option("--out", type=click.Path(path_type=Path), help="Also write the findings to this file, as JSON.")
@click.option("--quiet", is_flag=True, help="Do not show progress.")
@FORMAT
@click.pass_context
def audit(ctx: click.Context, /, *, model: Path, seed: int, out: Path | None, quiet: bool, output_format: str) -> None:
    """Attack what the compiled MODEL would send, as a client with keys of its own: MODEL is the server's folder.

    Each attack must read the weights from unprotected replies, and nothing from protected ones. It takes seconds for a
    linear model, and about eight times as long as scoring a full batch for a network. The exit code is the verdict's: 0
    pass, 1 an attack succeeded or a protection is missing, 5 inconclusive.
    """
    from wardline.core import canonical_json, need, write_atomic

    for module in ("numba", "tenseal", "zstandard"):
        need(module, extra="he")
    need("scipy", extra="torch")
    from wardline.attacks.extraction.encrypted_audit import audit_encrypted
    from wardline.he.compiled.folder import read_model

    served: Any = read_model(model)  # with its weights, which are no part of what a service asks of a model
    found = audit_encrypted(served, seed=seed, progress=choose_progress(quiet=quiet))
    if out is not None:
        write_atomic(out, canonical_json(found.to_json()))
    if output_format == "json":
        click.echo(json.dumps(found.to_json(), indent=2))
    else:
        click.echo("\n".join([*found.lines(), *([] if out is None else [f"findings: {out}"])]))
    ctx.exit(found.verdict.exit_code)
