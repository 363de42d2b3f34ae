"""Encrypted scores of a linear model beside TenSEAL: client, server, end to end, bytes and errors, in the same run.

Run: ``OMP_NUM_THREADS=1 python benchmarks/he_linear.py [rows] [features]``. Processor time, one thread, medians of
several turns; every contender has 128 bits of security. Ours is what leaves the server, fresh and flooded, from
bytes to bytes. TenSEAL protects no weights, so ours without protection stands beside it as well. TenSEAL's row by
row path is measured on a few rows and multiplied.

The last part draws many random models and compares their errors with the predicted ones.
"""

from __future__ import annotations

import platform
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import tenseal as ts

from wardline.he.ciphertext import Ciphertext
from wardline.he.frames.columns import read_columns, write_columns
from wardline.he.frames.replies import read_replies, write_replies
from wardline.he.frames.session import Binding, Limits, Session
from wardline.he.linear.evaluation import scores, unsafe_sums
from wardline.he.linear.plan import LEFT_OUT, plan_linear
from wardline.he.linear.rows import encrypt_rows, unsafe_raw_outputs
from wardline.he.seal.bridge import SealLattice

TURNS = 5


@dataclass
class Found:
    """Seconds for all rows, bytes a row each way, and the error's standard deviation."""

    encrypt: float
    serve: float
    decrypt: float
    up: float
    down: float
    error: float

    @property
    def whole(self) -> float:
        """Seconds from rows to scores."""
        return self.encrypt + self.serve + self.decrypt


def clock(work: Callable[[], Any]) -> tuple[float, Any]:
    began = time.process_time()
    result = work()
    return time.process_time() - began, result


def middle(turns: list[Found]) -> Found:
    return Found(*(float(np.median([getattr(one, name) for one in turns])) for name in Found.__dataclass_fields__))


def ours(x: np.ndarray, weights: np.ndarray, bias: np.ndarray, *, error: float | None, protect: bool) -> Found:
    plan, secret = plan_linear(weights, bias, low=x.min(0), high=x.max(0), sample=x, error=error)
    lattice = SealLattice.generate(plan.parameters)
    public = lattice.evaluation_keys().public
    session, limits = Session.generate(), Limits()
    turns = []
    for turn in range(TURNS + 1):
        bindings = [Binding.fresh() for _ in range(-(-len(x) // plan.parameters.degree))]

        def encrypt(bindings: list[Binding] = bindings) -> list[bytes]:
            batches = encrypt_rows(lattice, plan, x)
            return [
                write_columns(one, session=session, binding=binding, dropped_bits=LEFT_OUT)
                for one, binding in zip(batches, bindings, strict=True)
            ]

        def serve(sent: list[bytes], bindings: list[Binding] = bindings) -> list[bytes]:
            replies = []
            for frame, binding in zip(sent, bindings, strict=True):
                _, columns = read_columns(
                    frame, parameters=plan.parameters, session=session, binding=binding, limits=limits
                )
                if protect:
                    reply = scores(columns, public, plan=plan, secret=secret)
                else:
                    sums = unsafe_sums(columns, plan=plan, secret=secret)
                    reply = tuple(
                        Ciphertext(parameters=plan.parameters, parts=one, form="coefficients") for one in sums
                    )
                replies.append(write_replies(reply, session=session, binding=binding))
            return replies

        def decrypt(replied: list[bytes], bindings: list[Binding] = bindings) -> np.ndarray:
            replies = [
                read_replies(frame, parameters=plan.parameters, session=session, binding=binding, limits=limits)[1]
                for frame, binding in zip(replied, bindings, strict=True)
            ]
            return unsafe_raw_outputs(lattice, plan, replies, rows=len(x))

        first, sent = clock(encrypt)
        second, replied = clock(lambda sent=sent: serve(sent))
        third, found = clock(lambda replied=replied: decrypt(replied))
        off = float((found - (x @ weights.T + bias)).std())
        up, down = (sum(map(len, frames)) / len(x) for frames in (sent, replied))
        if turn:  # the first compiles
            turns.append(Found(first, second, third, up, down, off))
    return middle(turns)


def context(degree: int, bits: list[int], scale: int) -> Any:
    made = ts.context(ts.SCHEME_TYPE.CKKS, degree, coeff_mod_bit_sizes=bits, n_threads=1)
    made.global_scale = 2.0**scale
    return made


def public_of(made: Any) -> Any:
    copied = ts.context_from(made.serialize(save_secret_key=False), n_threads=1)
    copied.global_scale = made.global_scale
    return copied


def row_by_row(x: np.ndarray, weights: np.ndarray, bias: np.ndarray, made: Any, *, few: int = 24) -> Found:
    """The README's way: a vector a row, `.dot`."""
    public, w, b = public_of(made), weights[0].tolist(), bias.tolist()
    some = x[:few]
    times = len(x) / few
    encrypt, sent = clock(lambda: [ts.ckks_vector(made, row.tolist()).serialize() for row in some])
    serve, replied = clock(lambda: [(ts.ckks_vector_from(public, one).dot(w) + b).serialize() for one in sent])
    decrypt, found = clock(lambda: [ts.ckks_vector_from(made, one).decrypt()[0] for one in replied])
    off = float((np.array(found) - (some @ weights[0] + bias)).std())
    up, down = (sum(map(len, frames)) / few for frames in (sent, replied))
    return Found(encrypt * times, serve * times, decrypt * times, up, down, off)


def batched(x: np.ndarray, weights: np.ndarray, bias: np.ndarray, made: Any, *, rows_each: int) -> Found:
    """Its best path: a tensor whose slots are rows, `ckks_tensor(batch=True).mm`."""
    public = public_of(made)
    w = ts.plain_tensor(weights.T.tolist())
    pieces = [x[start : start + rows_each] for start in range(0, len(x), rows_each)]
    turns = []
    for _ in range(3):
        encrypt, sent = clock(
            lambda: [ts.ckks_tensor(made, one.reshape(len(one), 1, -1), batch=True).serialize() for one in pieces]
        )
        serve, replied = clock(lambda sent=sent: [ts.ckks_tensor_from(public, one).mm(w).serialize() for one in sent])
        decrypt, found = clock(
            lambda replied=replied: [np.array(ts.ckks_tensor_from(made, one).decrypt().tolist()) for one in replied]
        )
        got = np.concatenate([one.reshape(-1) for one in found])
        off = float((got - x @ weights[0]).std())
        up, down = (sum(map(len, frames)) / len(x) for frames in (sent, replied))
        turns.append(Found(encrypt, serve, decrypt, up, down, off))
    return middle(turns)


def show(name: str, found: Found, best: Found) -> None:
    cells = [f"{1e3 * value:.4g}" for value in (found.encrypt, found.serve, found.decrypt)]
    ratios = [f"{found.serve / best.serve:.4g}", f"{found.whole / best.whole:.4g}"]
    print(
        "| " + " | ".join([name, *cells, *ratios, f"{found.up:.0f}", f"{found.down:.1f}", f"{found.error:.2g}"]) + " |"
    )


def trials(count: int) -> None:
    generator = np.random.default_rng(1)
    ratios, worst, refused = [], 0.0, 0
    for _ in range(count):
        features, outputs = int(generator.integers(1, 6)), int(generator.integers(1, 3))
        rows = generator.normal(size=(400, features)) * 10.0 ** generator.uniform(-2, 3, features)
        weights = generator.normal(size=(outputs, features)) / rows.std(axis=0)
        bias = generator.normal(size=outputs)
        try:
            plan, secret = plan_linear(weights, bias, low=rows.min(0), high=rows.max(0), sample=rows)
        except OverflowError:  # one output varies so little beside the other that no parameters reach both
            refused += 1
            continue
        lattice = SealLattice.generate(plan.parameters)
        (columns,) = encrypt_rows(lattice, plan, rows)
        reply = scores(columns, lattice.evaluation_keys().public, plan=plan, secret=secret)
        off = unsafe_raw_outputs(lattice, plan, [reply], rows=len(rows)) - (rows @ weights.T + bias)
        ratios.append(float(off.std(axis=0).max()) / plan.error)
        worst = max(worst, float(np.abs(off).max()) / plan.worst)
    print(f"\n{count - refused} random models, {refused} more refused; error over the predicted one: ", end="")
    print(f"median {np.median(ratios):.2f}, largest {max(ratios):.2f}; ", end="")
    print(f"the largest single error was {worst:.2f} of the stated worst one")


def main() -> None:
    rows, features = (int(given) for given in (*sys.argv[1:], "4096", "20")[:2])
    generator = np.random.default_rng(0)
    x = generator.normal(size=(rows, features))
    weights, bias = generator.normal(size=(1, features)), generator.normal(size=1)
    print(f"python {platform.python_version()}, tenseal {ts.__version__}, one thread; {rows} x {features}; ms")
    print("| | encrypt | server | decrypt | server, times the first | end to end, likewise | bytes up | down | error |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    first = ours(x, weights, bias, error=None, protect=True)
    show("**Wardline**", first, first)
    show("Wardline, error 1e-4", ours(x, weights, bias, error=1e-4, protect=True), first)
    show("Wardline, weights not protected", ours(x, weights, bias, error=None, protect=False), first)
    for degree, bits, scale in ((4096, [36, 24, 36], 24), (8192, [31, 26, 31], 26), (8192, [60, 40, 40, 60], 40)):
        try:
            found = batched(x, weights, bias, context(degree, bits, scale), rows_each=degree // 2)
        except (ValueError, RuntimeError) as refused:
            print(f"TenSEAL {degree} {bits}: {refused}")
            continue
        show(f"TenSEAL, batched tensor, N = {degree}, {bits}, scale 2^{scale}", found, first)
    made = context(8192, [60, 40, 40, 60], 40)
    made.generate_galois_keys()
    show("TenSEAL, README's `.dot` a row, N = 8192, [60, 40, 40, 60]", row_by_row(x, weights, bias, made), first)
    trials(int(sys.argv[3]) if len(sys.argv) > 3 else 1000)


if __name__ == "__main__":
    main()
