"""Encrypted models against rows at a time: latency, throughput, bytes, memory, and where packings break even.

    python examples/mnist-encrypted/train.py results --epochs 4
    OMP_NUM_THREADS=1 python benchmarks/he_batches.py results --pictures docs/img

Three protected models: a linear one of 20 features (4,096 rows a batch), and the MNIST network in batch columns and by
diagonals (one row at a time). Times are processor time of one thread, so that of an idle machine. The client encrypts
columns once, since a batch that is not full takes it as long; the server computes and cuts the answer down to as many
rows at every size. Diagonals are computed for up to `--one-by-one` rows and multiplied beyond: rows do not depend on
each other. Memory is what the process had most of during the server's work beyond what it had before, after the
allocator was told to give everything back. Two pictures are written, latency and throughput.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import os
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from he_network import CALIBRATION, images, untrained
from markupsafe import Markup

from wardline.core.drawing.page import Section, render_page, standalone
from wardline.core.drawing.svg import Scale, element, marker, placed, share
from wardline.core.drawing.xy import Axis, Line, Point, Series, draw_xy
from wardline.he.ciphertext import Ciphertext
from wardline.he.compiler.store import load_program
from wardline.he.cost.client import measure_client_speeds
from wardline.he.cost.prediction import seconds
from wardline.he.cost.speeds import measure_speeds
from wardline.he.diagonal import evaluation as diagonal_evaluation
from wardline.he.diagonal import rows as diagonal_rows
from wardline.he.diagonal.choice import plan_diagonal
from wardline.he.diagonal.keys import gathered
from wardline.he.frames.columns import write_columns
from wardline.he.frames.evaluation_keys import expand_keys
from wardline.he.frames.replies import write_replies
from wardline.he.frames.session import Binding, Session
from wardline.he.linear import rows as linear_rows
from wardline.he.linear.evaluation import scores
from wardline.he.linear.plan import plan_linear
from wardline.he.network import evaluation as network_evaluation
from wardline.he.network import rows as network_rows
from wardline.he.network.choice import plan_network
from wardline.he.network.tiling import withheld
from wardline.he.seal.bridge import SealLattice

SIZES = (1, 4, 16, 64, 256, 1024, 4096, 8192)
FEATURES = 20


@dataclass(frozen=True)
class Measured:
    """One model: seconds by rows at a time."""

    name: str
    plan: Any
    secret: Any
    encrypt: float
    """Of a batch."""
    server: dict[int, float]
    decrypt: float
    """Of a batch."""
    up: int
    down: int
    memory: int

    def batches(self, rows: int) -> int:
        """How many so many rows fill."""
        return -(-rows // self.plan.rows)

    def whole(self, rows: int) -> float:
        """Seconds of server and client."""
        return self.server[rows] + self.batches(rows) * (self.encrypt + self.decrypt)


def clock(work: Callable[[], Any]) -> tuple[float, Any]:
    began = time.process_time()
    result = work()
    return time.process_time() - began, result


def beyond(work: Callable[[], Any]) -> int:
    """Bytes that this process had more of, at most, while it worked."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before = status("VmRSS")
    work()
    return status("VmHWM") - before


def status(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith(name)).split()[1])


def linear(x: np.ndarray[Any, Any]) -> Measured:
    generator = np.random.default_rng(0)
    weights, bias = generator.normal(size=(1, FEATURES)), generator.normal(size=1)
    plan, secret = plan_linear(weights, bias, low=x.min(0), high=x.max(0), sample=x)
    lattice = SealLattice.generate(plan.parameters)
    public = expand_keys(lattice.evaluation_keys()).public

    def serve(columns: Any, rows: int) -> list[Ciphertext]:
        return [cut(one, rows) for one in scores(columns, public, plan=plan, secret=secret)]

    def cut(one: Ciphertext, rows: int) -> Ciphertext:
        one.parts[0, :, rows:] = 0
        return one

    def encrypt() -> Any:
        return next(iter(linear_rows.encrypt_rows(lattice, plan, x[: plan.rows])))

    def decrypt(replies: Any) -> Any:
        return linear_rows.decrypt_outputs(lattice, plan, [replies], rows=plan.rows)

    encrypt()
    return columns_of("linear, 20 features", plan, secret, encrypt=encrypt, serve=serve, decrypt=decrypt)


def network(program: Any, sample: Any, x: np.ndarray[Any, Any]) -> Measured:
    plan, secret = plan_network(program, sample)
    lattice = SealLattice.generate(plan.parameters)
    keys = expand_keys(lattice.evaluation_keys(relinearisation=True))

    def serve(columns: Any, rows: int) -> list[Ciphertext]:
        found = network_evaluation.replies(columns, keys, plan=plan, secret=secret)
        return [withheld(one, rows) for one in found]

    def encrypt() -> Any:
        return next(iter(network_rows.encrypt_rows(lattice, plan, x[: plan.rows])))

    def decrypt(replies: Any) -> Any:
        return lattice.decrypt_slots(replies)

    return columns_of("network, batch columns", plan, secret, encrypt=encrypt, serve=serve, decrypt=decrypt)


def columns_of(name: str, plan: Any, secret: Any, *, encrypt: Any, serve: Any, decrypt: Any) -> Measured:
    taken, columns = clock(encrypt)
    replies = serve(columns, plan.rows)  # compiles what is not yet
    memory = beyond(lambda: serve(columns, plan.rows))
    turns = 5 if plan.rows == 4096 else 1
    server = {}
    for rows in SIZES:
        one = min(clock(lambda rows=rows: serve(columns, min(rows, plan.rows)))[0] for _ in range(turns))
        server[rows] = one * -(-rows // plan.rows)
    back, _ = clock(lambda: decrypt(replies))
    up, down = sizes(columns, replies)
    return Measured(name, plan, secret, taken, server, back, up, down, memory)


def diagonal(program: Any, sample: Any, x: np.ndarray[Any, Any], most: int) -> Measured:
    plan, secret = plan_diagonal(program, sample)
    lattice = SealLattice.generate(plan.parameters)
    made = lattice.evaluation_keys(relinearisation=plan.relinearises, steps=plan.steps)
    keys = gathered(plan, made)
    del made
    taken, sent = clock(lambda: list(diagonal_rows.encrypt_rows(lattice, plan, x[:most])))

    def serve(rows: int) -> list[Sequence[Ciphertext]]:
        return [diagonal_evaluation.replies(one, keys, plan=plan, secret=secret) for one in sent[:rows]]

    serve(1)
    memory = beyond(lambda: serve(1))
    server = {}
    for rows in SIZES:
        counted = min(rows, most)
        server[rows] = clock(lambda counted=counted: serve(counted))[0] * rows / counted if rows <= most else 0.0
    last = max(rows for rows in SIZES if rows <= most)
    for rows in SIZES:
        server[rows] = server[rows] or server[last] * rows / last
    replies = serve(1)
    back, _ = clock(lambda: diagonal_rows.decrypt_outputs(lattice, plan, replies, rows=1))
    up, down = sizes(sent[0], replies[0])
    return Measured("network, diagonals", plan, secret, taken / most, server, back, up, down, memory)


def sizes(columns: Any, replies: Sequence[Ciphertext]) -> tuple[int, int]:
    """Bytes of both frames of a batch."""
    session, binding = Session.generate(), Binding.fresh()
    dropped = 8 if columns.parameters.scheme == "bfv" else 0
    sent = write_columns(columns, session=session, binding=binding, dropped_bits=dropped)
    return len(sent), len(write_replies(list(replies), session=session, binding=binding))


def show(found: Sequence[Measured], one_by_one: int) -> None:
    print("| rows at a time | " + " | ".join(f"{one.name}: server, ms | rows/s | whole, ms" for one in found) + " |")
    print("| ---: |" + " ---: | ---: | ---: |" * len(found))
    for rows in SIZES:
        cells = []
        for one in found:
            mark = "*" if one.plan.rows == 1 and rows > one_by_one else ""
            server = one.server[rows]
            cells.append(f"{1e3 * server:.4g}{mark} | {rows / server:,.3g} | {1e3 * one.whole(rows):.4g}{mark}")
        print(f"| {rows:,} | " + " | ".join(cells) + " |")
    print(f"\n\\* {one_by_one} rows, multiplied\n")
    print("| a batch of | rows | encrypt, ms | decrypt, ms | bytes up | formula | down | formula | memory | formula |")
    print("| --- |" + " ---: |" * 9)
    for one in found:
        sizes_ = (one.up, one.plan.upload_bytes, one.down, one.plan.reply_bytes)
        memory = f"{one.memory / 2**20:.1f} MiB | {one.plan.memory_bytes() / 2**20:.1f} MiB"
        times = f"{1e3 * one.encrypt:.4g} | {1e3 * one.decrypt:.3g}"
        print(
            f"| {one.name} | {one.plan.rows:,} | {times} | " + " | ".join(f"{s:,}" for s in sizes_) + f" | {memory} |"
        )
    columns, diagonals = found[1], found[2]
    batch = float(np.median(list(columns.server.values())))
    both = [one.encrypt + one.decrypt for one in (columns, diagonals)]
    for label, ratio in (
        ("the server's time", batch / diagonals.server[1]),
        ("the time of server and client", (batch + both[0]) / (diagonals.server[1] + both[1])),
    ):
        print(f"\nBy {label}, columns are cheaper from {int(np.ceil(ratio)):,} rows at a time on.")
    speeds, client = measure_speeds(), measure_client_speeds()
    print("\n| predicted over measured, a full batch | server | encryption |\n| --- | ---: | ---: |")
    for one in found:
        secret = one.secret if one is columns else None
        told = seconds(one.plan, speeds, rows=one.plan.rows, secret=secret, client=client)
        assert told.encrypt is not None
        measured = one.server[min(rows for rows in SIZES if rows >= one.plan.rows)]
        print(f"| {one.name} | {told.server / measured:.2f} | {told.encrypt / one.encrypt:.2f} |")


def draw(found: Sequence[Measured], folder: Path, page: Path | None) -> None:
    """Two charts as files, and both on a page."""
    looks: tuple[Series, ...] = ("released", "unprotected", "third")
    marks = ("circles", "diamonds", "squares")
    key = "; ".join(f"{mark}: {one.name}" for mark, one in zip(marks, found, strict=True))
    across = Axis(
        name="rows at a time", scale=Scale(low=0.8, high=1.2e4, log=True), write="{:,.0f}".format, ticks=SIZES
    )
    sections = []
    for name, title, unit, value in (
        ("he-latency", "Latency of the server against rows at a time", "ms", lambda one, rows: 1e3 * one.server[rows]),
        ("he-throughput", "Throughput of the server against rows at a time", "rows/s", lambda o, n: n / o.server[n]),
    ):
        lines = [
            Line(label=one.name, look=look, points=tuple(Point(x=rows, y=value(one, rows)) for rows in SIZES))
            for look, one in zip(looks, found, strict=True)
        ]
        ends = [point.y for line in lines for point in line.points]
        low, high = 10.0 ** np.floor(np.log10(min(ends))), 10.0 ** np.ceil(np.log10(max(ends)))
        up = Axis(name=unit, scale=Scale(low=low, high=high, log=True), write="{:,.10g}".format)
        picture = draw_xy(name, lines, title=f"{title} ({key})", summary=key, across=across, up=up, height=320)
        (folder / f"{name}.svg").write_bytes(standalone(with_legend(picture, found, looks)))
        rows = tuple((f"{n:,}", *(f"{value(one, n):,.4g}" for one in found)) for n in SIZES)
        legend = tuple((look, one.name) for look, one in zip(looks, found, strict=True))
        sections.append(
            Section(
                title=title,
                picture=picture,
                legend=legend,
                columns=("rows", *(f"{one.name}, {unit}" for one in found)),
                rows=rows,
            )
        )
    if page is not None:
        page.write_bytes(render_page("Encrypted models against rows at a time", sections))


def with_legend(picture: Markup, found: Sequence[Measured], looks: Sequence[Series]) -> Markup:
    """The legend above the plot, for a picture that stands alone."""
    parts = []
    for place, (one, look) in enumerate(zip(found, looks, strict=True)):
        x = (24.0, 45.0, 74.0)[place]
        parts += [placed(x, 10, marker(look)), element("text", {"x": share(x + 1.6), "y": 14}, one.name)]
    closing = Markup("</svg>")
    return Markup("").join([Markup(str(picture)[: -len(closing)]), *parts, closing])


def main() -> None:
    """Measure, print Markdown, draw."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("folder", type=Path, nargs="?", help="what examples/mnist-encrypted/train.py wrote")
    options.add_argument("--pictures", type=Path, help="a folder for two SVG files")
    options.add_argument("--page", type=Path, help="an HTML file with both pictures and their figures")
    options.add_argument("--one-by-one", type=int, default=16)
    chosen = options.parse_args()
    generator = np.random.default_rng(0)
    table = generator.normal(size=(4096, FEATURES))
    if chosen.folder is None:
        program, sample, x = untrained(), generator.random((CALIBRATION, 784)), generator.random((8192, 784))
    else:
        program = load_program(chosen.folder)
        sample, x, _ = images(8192)
    print(f"numpy {np.__version__}, {platform.machine()}, CPU time of one thread, load {os.getloadavg()[0]:.1f}\n")
    found = [linear(table), network(program, sample, x), diagonal(program, sample, x, chosen.one_by_one)]
    show(found, chosen.one_by_one)
    if chosen.pictures is not None:
        draw(found, chosen.pictures, chosen.page)


if __name__ == "__main__":
    main()
