"""`wardline he compile|explain|certificates|serve`: the side of the model's owner."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from wardline.cli.he_options import need_service, read_rows, tls_files, tls_options
from wardline.cli.options import FORMAT

if TYPE_CHECKING:
    from wardline.he.compiled.public_model import PublicModel

_PATH = click.Path(path_type=Path)


@click.command("compile", epilog="Example: wardline he compile model.json --sample train.parquet --out compiled")
@click.argument("model", type=_PATH)
@click.option("--sample", type=_PATH, required=True, help="A table of rows like those that will be scored.")
@click.option("--features", help="Columns of the sample in the model's order, with commas; for ONNX files.")
@click.option(
    "--gives",
    type=click.Choice(["logits", "decision", "values"]),
    help="What the outputs of an ONNX file are; else a decision value if there is one, logits if there are several.",
)
@click.option("--error", type=float, help="Greatest standard deviation of a score's error; else what decisions need.")
@click.option("--margin", type=float, default=0.1, show_default=True, help="How far ranges go beyond the sample's.")
@click.option("--agreement", type=float, default=0.999, show_default=True, help="Least share of equal decisions.")
@click.option("--refuse", is_flag=True, help="Have rows out of range refused by the client, not clipped.")
@click.option("--single", is_flag=True, help="Compile a network for one row at a time, with the least delay.")
@click.option("--batch", type=click.IntRange(min=1), help="Rows that come at a time: networks are packed for these.")
@click.option("--out", type=_PATH, required=True, help="The folder to write.")
@FORMAT
def compile_model(
    *,
    model: Path,
    sample: Path,
    features: str | None,
    gives: Literal["logits", "decision", "values"] | None,
    error: float | None,
    margin: float,
    agreement: float,
    refuse: bool,
    single: bool,
    batch: int | None,
    out: Path,
    output_format: str,
) -> None:
    """Compile MODEL: a .json file of coefficients, an .onnx file, or a folder with a model of `wardline run`.

    Linear and logistic models and networks of dense layers, convolutions, average pooling and polynomials are computed;
    activations such as ReLU are fitted by polynomials, as far as decisions bear it. A layer that cannot be computed on
    ciphertexts is named. SAMPLE is a table with the model's features as columns.

    The folder gets public.json, to give away, and weights.bin, which stays at the server. Compilation fails if the
    encrypted model would decide otherwise than the plain one on too much of the sample. The extremes of the sample,
    widened by the margin, become public.
    """
    from wardline.core import UsageError, need

    need("numba", extra="he")
    from wardline.he.compiled.compiling import compile_model as compile_many
    from wardline.he.compiled.compiling import compile_single
    from wardline.he.compiled.folder import check_free, write_model
    from wardline.he.compiled.sources import program_from_path

    check_free(out)
    names = tuple(features.split(",")) if features else ()
    if single and batch is not None:
        raise UsageError("--single and --batch exclude each other", hint="give --batch 1 to have the faster one chosen")
    if model.suffix == ".onnx" and not names:
        raise UsageError("an ONNX file does not name its features", hint="list them with --features a,b,c")
    try:
        program = program_from_path(model, features=names, gives=gives)
        if not program.features:
            raise UsageError("the model does not name its features", hint="list them with --features a,b,c")
        compiled = (compile_single if single else partial(compile_many, batch=batch))(
            program,
            read_rows(sample, program.features),
            error=error,
            out_of_range="refuse" if refuse else "clip",
            margin=margin,
            agreement=agreement,
        )
    except ValueError as failed:
        raise UsageError(str(failed), where=str(model), hint="check the options and the sample") from failed
    public, weights = write_model(out, compiled.public, compiled.weights)
    if output_format == "json":
        fidelity = compiled.fidelity
        told = {"public": str(public), "weights": str(weights), "agreement": fidelity.agreement, "rows": fidelity.rows}
        kind = compiled.public.kind.name
        click.echo(json.dumps({**told, "kind": kind, "digest": compiled.public.digest.hex()}, indent=2))
        return
    click.echo(compiled.public.plan.explain())
    _tell_seconds(compiled.public, secret=compiled.evaluator.secret)
    click.echo(str(compiled.fidelity))
    click.echo(f"public:  {public} (give it away)")
    click.echo(f"weights: {weights} (keep it at the server)")
    click.echo(f"digest:  {compiled.public.digest.hex()}")


@click.command("explain", epilog="Example: wardline he explain compiled")
@click.argument("model", type=_PATH)
@FORMAT
def explain(*, model: Path, output_format: str) -> None:
    """Show what the public part of MODEL says: a folder, or its public.json."""
    from wardline.core import need

    need("numba", extra="he")
    from wardline.he.compiled.folder import read_public

    public = read_public(model)
    if output_format == "json":
        told = {**public.to_json(), "digest": public.digest.hex(), "parameters_digest": public.plan.parameters.digest}
        click.echo(json.dumps(told, indent=2))
        return
    click.echo(public.plan.explain())
    _tell_seconds(public)
    click.echo(f"scores are rounded to multiples of {public.plan.step:.3g}, and are {_meaning(public)}")
    click.echo(f"features out of their ranges are {'clipped' if public.out_of_range == 'clip' else 'refused'}:")
    for line in public.kind.public.describe_inputs(public.plan, public.features):
        click.echo(f"  {line}")
    click.echo(public.kind.public.determined_by(public.plan))
    click.echo(f"digest: {public.digest.hex()}")


@click.command("certificates", epilog="Example: wardline he certificates tls --client branch --server localhost")
@click.argument("folder", type=_PATH)
@click.option("--client", "clients", multiple=True, required=True, help="Name of a client; can be given several times.")
@click.option("--server", default="localhost", show_default=True, help="Host name of the server.")
def certificates(*, folder: Path, clients: tuple[str, ...], server: str) -> None:
    """Make an authority and certificates for mutual TLS in FOLDER, for development: valid for 30 days.

    A folder that has an authority gets more clients. In production use your own authority: one that gives each name
    to one client, with the client's usage in its certificate.
    """
    from wardline.serve.scoring.certificates import make_development_certificates

    for path in make_development_certificates(folder, clients=clients, server=server):
        click.echo(f"{path} and its key")


@click.command(
    "serve",
    epilog="Example: wardline he serve compiled --address 0.0.0.0:7443 --account rows.sqlite --rows 10000 "
    "--authority tls/authority.pem --certificate tls/server.pem --tls-key tls/server.key",
)
@click.argument("model", type=_PATH)
@click.option("--address", default="127.0.0.1:7443", show_default=True, help="Host and port; port 0 takes a free one.")
@tls_options
@click.option("--account", type=_PATH, required=True, help="The file in which clients' rows are counted.")
@click.option("--rows", type=click.IntRange(min=0), required=True, help="Rows that each client may have, ever.")
@click.option("--client", "clients", multiple=True, metavar="NAME=ROWS", help="Another number of rows for one client.")
@click.option("--threads", type=click.IntRange(min=1), default=1, show_default=True, help="Threads that compute.")
@click.option("--memory", type=float, default=8.0, show_default=True, help="GiB for requests in work.")
@click.option(
    "--metrics-port",
    type=click.IntRange(0, 65535),
    help="Serve Prometheus' metrics on this port of 127.0.0.1; 0 for a free one.",
)
def serve(
    *,
    model: Path,
    address: str,
    authority: Path,
    certificate: Path,
    tls_key: Path,
    account: Path,
    rows: int,
    clients: tuple[str, ...],
    threads: int,
    memory: float,
    metrics_port: int | None,
) -> None:
    """Serve MODEL, a folder that `wardline he compile` wrote, over gRPC with mutual TLS, until interrupted.

    The first line says where it listens; calls are logged as JSON lines to the standard error. Rows are charged
    before they are scored, and a restart with the same account forgets none of them.
    """
    need_service()
    import signal
    import sys
    import threading

    from wardline.core import UsageError
    from wardline.he.compiled.folder import read_model
    from wardline.serve.scoring.admission import ServiceLimits
    from wardline.serve.scoring.meter import RowMeter
    from wardline.serve.scoring.metrics import MetricsPort
    from wardline.serve.scoring.server import EventLog, ScoringServer
    from wardline.serve.scoring.service import Allowance, Scoring

    evaluator = read_model(model)
    allowance = Allowance(rows=rows, of_client=dict(_allowance(one) for one in clients))
    if not 0 < memory < 2**20:
        raise UsageError(f"{memory:g} GiB of memory cannot be had", hint="for example --memory 8")
    limits = ServiceLimits(threads=threads, memory_bytes=int(memory * 2**30))
    scoring = Scoring(evaluator, RowMeter(account), allowance=allowance, limits=limits)
    scoring.warm_up()
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    tls = tls_files(authority=authority, certificate=certificate, tls_key=tls_key)
    metrics = None if metrics_port is None else MetricsPort(scoring.metrics, port=metrics_port)
    server = ScoringServer(scoring, address, tls=tls, log=EventLog(sys.stderr))
    told = {"port": server.port, "model": evaluator.digest.hex(), "metrics_port": metrics.port if metrics else None}
    click.echo(json.dumps(told))
    sys.stdout.flush()
    stop.wait()
    server.stop()
    if metrics is not None:
        metrics.close()


def _allowance(text: str) -> tuple[str, int]:
    from wardline.core import UsageError

    name, equals, rows = text.rpartition("=")
    if not (name and equals and rows.isdecimal()):
        raise UsageError(f"{text!r} is no allowance of a client", hint="for example --client branch=5000")
    return name, int(rows)


def _tell_seconds(public: PublicModel, *, secret: object = None) -> None:
    """What a full batch and one row take on this machine."""
    from wardline.he.cost.prediction import seconds
    from wardline.he.cost.speeds import measure_speeds

    plan: Any = public.plan
    if public.kind.name == "forest":  # whose plan knows its seconds
        return
    for rows in sorted({1, plan.rows}):
        click.echo(seconds(plan, measure_speeds(), rows=rows, secret=secret).explain())


def _meaning(public: PublicModel) -> str:
    meaning = public.meaning
    match meaning.gives:
        case "decision":
            return f"above {meaning.threshold:g} for {meaning.classes[1]}, else {meaning.classes[0]}"
        case "logits":
            return f"one for each of {', '.join(meaning.classes)}, of which the largest decides"
        case _:
            return "values"
