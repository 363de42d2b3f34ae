"""An encrypted convolutional network beside TenSEAL: client, server, bytes, errors and decisions, in one run.

    python examples/mnist-encrypted/train.py results --epochs 4
    OMP_NUM_THREADS=1 python benchmarks/he_cnn_peers.py results --images 4096

Processor time of one thread for an image, from numbers to bytes and back, everything compiled and loaded before; every
contender has 128 bits of security. TenSEAL stands here three times:

- its tutorial 4: one image a ciphertext (`im2col_encoding`, `conv2d_im2col`, `square_`, `mm`), N = 8192, primes
  [31, 26 x 6, 31], on the first images alone;
- `ckks_tensor(..., batch=True)` with `mm`, 4,096 images at once, with the tutorial's parameters and TenSEAL's own
  rescaling after every single product;
- the strongest that we found: the same tensors encrypted under the secret key (less noise), rescaling switched off but
  for the squares, so that sums are rescaled once and not each of their products, and four primes of 54 bits in place of
  eight. TenSEAL sets a rescaled ciphertext's scale to the first one, whatever it is in truth, so the next layer's
  weights are divided by what that is wrong by. Offsets come from an encrypted 1.

TenSEAL protects no weights. Ours stand with protection and without, and once more with as small an error as the
strongest peer's where ours is larger. Times of batches are for an image of a full one, 4,096 images or 8,192 with
protection: a batch that is not full takes as long. `--only` picks contenders.
"""

from __future__ import annotations

import argparse
import gc
import math
import os
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tenseal as ts
import tenseal.sealapi as sealapi
from he_network import CALIBRATION, images, untrained, warm_up

from wardline.he.ciphertext import Ciphertext
from wardline.he.compiler.program import Program
from wardline.he.compiler.store import load_program
from wardline.he.frames.columns import read_columns, write_columns
from wardline.he.frames.evaluation_keys import expand_keys
from wardline.he.frames.replies import read_replies, write_replies
from wardline.he.frames.session import Binding, Limits, Session
from wardline.he.network.choice import plan_network, unsafe_plan_unprotected_network
from wardline.he.network.evaluation import replies, unsafe_replies
from wardline.he.network.rows import decrypt_outputs, encrypt_rows
from wardline.he.network.stages import stages_of
from wardline.he.seal.bridge import SealLattice

SIDE, KERNEL, STRIDE = 28, 7, 3
WINDOWS = (SIDE - KERNEL) // STRIDE + 1
TUTORIAL = (8192, [31, *[26] * 6, 31], 26)
TUNED = (8192, [54] * 4, 20)

Floats = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True)
class Layers:
    """The network as TenSEAL's calls want it."""

    kernels: Floats
    """[49, channels]"""
    offsets: Floats
    """[channels]"""
    dense: tuple[tuple[Floats, Floats], ...]
    """Weights [inputs, outputs] and offsets; the first ones' inputs are windows within channels."""

    @classmethod
    def of(cls, program: Program) -> Layers:
        """Of a convolution without padding, a square, a dense layer, a square and another one."""
        first, second, third = stages_of(program)
        if first.slope or second.slope or third.slope is not None:
            raise SystemExit("the network must bend by squares alone")
        channels = len(first.weights) // WINDOWS**2
        corner = first.weights[:: WINDOWS**2].reshape(channels, SIDE, SIDE)[:, :KERNEL, :KERNEL]
        return cls(
            kernels=corner.reshape(channels, -1).T,
            offsets=first.offset[:: WINDOWS**2],
            dense=tuple((one.weights.T, one.offset) for one in (second, third)),
        )


@dataclass(frozen=True)
class Found:
    """Seconds and bytes of all images that were computed, and what came out."""

    encrypt: float
    serve: float
    decrypt: float
    up: int
    down: int
    outputs: Floats
    room: int
    """How many images would have taken as long."""

    def each(self) -> tuple[float, float, float]:
        """Seconds an image, of full batches."""
        return self.encrypt / self.room, self.serve / self.room, self.decrypt / self.room


def clock(work: Callable[[], Any]) -> tuple[float, Any]:
    gc.collect()
    began = time.process_time()
    result = work()
    return time.process_time() - began, result


def context(degree: int, bits: list[int], scale: int, *, symmetric: bool = False) -> Any:
    kind = ts.ENCRYPTION_TYPE.SYMMETRIC if symmetric else ts.ENCRYPTION_TYPE.ASYMMETRIC
    made = ts.context(ts.SCHEME_TYPE.CKKS, degree, coeff_mod_bit_sizes=bits, encryption_type=kind, n_threads=1)
    made.global_scale = 2.0**scale
    return made


def public_of(made: Any) -> Any:
    copied = ts.context_from(made.serialize(save_secret_key=False), n_threads=1)
    copied.global_scale = made.global_scale
    return copied


def tutorial(layers: Layers, x: Floats) -> Found:
    """One image a ciphertext."""
    made = context(*TUTORIAL)
    made.generate_galois_keys()
    public = public_of(made)
    kernels = layers.kernels.T.reshape(-1, KERNEL, KERNEL).tolist()
    dense = [(weights.tolist(), offset.tolist()) for weights, offset in layers.dense]

    def encrypt() -> list[bytes]:
        pictures = x.reshape(-1, SIDE, SIDE).tolist()
        return [ts.im2col_encoding(made, one, KERNEL, KERNEL, STRIDE)[0].serialize() for one in pictures]

    def serve(sent: list[bytes]) -> list[bytes]:
        replied = []
        for frame in sent:
            image = ts.ckks_vector_from(public, frame)
            channels = [
                image.conv2d_im2col(kernel, WINDOWS**2) + offset
                for kernel, offset in zip(kernels, layers.offsets.tolist(), strict=True)
            ]
            values = ts.CKKSVector.pack_vectors(channels)
            for weights, offset in dense:
                values.square_()
                values = values.mm(weights) + offset
            replied.append(values.serialize())
        return replied

    def decrypt(replied: list[bytes]) -> Floats:
        return np.array([ts.ckks_vector_from(made, one).decrypt() for one in replied])

    first, sent = clock(encrypt)
    second, replied = clock(lambda: serve(sent))
    third, outputs = clock(lambda: decrypt(replied))
    return Found(first, second, third, sum(map(len, sent)), sum(map(len, replied)), outputs, len(x))


def batched(layers: Layers, x: Floats, parameters: tuple[int, list[int], int], *, tuned: bool) -> Found:
    """All images at once, a tensor of ciphertexts whose slots are images; `tuned` rescales at the squares alone."""
    made = context(*parameters, symmetric=tuned)
    public = public_of(made)
    room, scale = parameters[0] // 2, 2.0 ** parameters[2]
    taken = x[:room]
    primes = [one.value() for one in sealapi.CoeffModulus.Create(*parameters[:2])]  # the special one last

    def encrypt() -> tuple[bytes, bytes]:
        pictures = ts.ckks_tensor(made, taken.reshape(-1, SIDE, SIDE), batch=True)
        return pictures.serialize(), ts.ckks_tensor(made, np.ones((len(taken), 1, 1)), batch=True).serialize()

    def bent(values: Any) -> Any:
        public.auto_rescale = True
        squared = values.square_()
        public.auto_rescale = not tuned
        return squared

    def serve(sent: tuple[bytes, bytes]) -> bytes:
        pictures, one = (ts.ckks_tensor_from(public, frame) for frame in sent)
        public.auto_rescale = not tuned

        def plus(values: Any, offset: Floats) -> Any:
            if tuned:  # scales are no longer what plain numbers are encoded with
                return values.add_(one.mm(plain(offset[None])))
            return values.add_(offset[None].tolist())

        def plain(weights: Floats) -> list[list[float]]:
            """As lists. A product with what rounds to 0 TenSEAL replaces by an encryption, which takes a key."""
            least = 1.0 / scale if tuned else 0.0
            return np.where(np.abs(weights) < least, least, weights).tolist()

        kernels, (weights, offset) = plain(layers.kernels), layers.dense[0]
        wrong = scale**3 / primes[-2] if tuned else 1.0  # what a square's stated scale is wrong by
        by_window = (weights / wrong).reshape(len(layers.offsets), WINDOWS**2, -1)
        total = None
        for place in range(WINDOWS**2):
            top, left = (STRIDE * one for one in divmod(place, WINDOWS))
            window = pictures[top : top + KERNEL, left : left + KERNEL].reshape([1, KERNEL**2])
            hidden = bent(plus(window.mm(kernels), layers.offsets))
            part = hidden.mm(plain(by_window[:, place]))
            total = part if total is None else total.add_(part)
        hidden = bent(plus(total, offset))
        wrong = scale**3 / primes[-3] if tuned else 1.0
        weights, offset = layers.dense[1]
        return plus(hidden.mm(plain(weights / wrong)), offset).serialize()

    def decrypt(replied: bytes) -> Floats:
        return np.array(ts.ckks_tensor_from(made, replied).decrypt().tolist()).reshape(len(taken), -1)

    first, sent = clock(encrypt)
    second, replied = clock(lambda: serve(sent))
    third, outputs = clock(lambda: decrypt(replied))
    return Found(first, second, third, sum(map(len, sent)), len(replied), outputs, room)


def ours(program: Program, sample: Floats, x: Floats, *, protect: bool, error: float | None = None) -> Found:
    """From bytes to bytes."""
    plan, secret = (plan_network if protect else unsafe_plan_unprotected_network)(program, sample, error=error)
    print(f"<!-- {plan.explain().splitlines()[1]}; error {plan.error:.3g} predicted -->", flush=True)
    lattice = SealLattice.generate(plan.parameters)
    keys = expand_keys(lattice.evaluation_keys(relinearisation=True))
    session, limits = Session.generate(), Limits(frame_bytes=1 << 30)
    binding = Binding.fresh()

    def encrypt() -> list[bytes]:
        return [write_columns(one, session=session, binding=binding) for one in encrypt_rows(lattice, plan, x)]

    def serve(sent: list[bytes]) -> list[bytes]:
        replied = []
        for frame in sent:
            _, columns = read_columns(
                frame, parameters=plan.parameters, session=session, binding=binding, limits=limits
            )
            found: Sequence[Ciphertext]
            if protect:
                found = replies(columns, keys, plan=plan, secret=secret)
            else:
                found = unsafe_replies(columns, keys, plan=plan, secret=secret)
            replied.append(write_replies(found, session=session, binding=binding))
        return replied

    def decrypt(replied: list[bytes]) -> Floats:
        answers = [
            read_replies(frame, parameters=plan.parameters, session=session, binding=binding, limits=limits)[1]
            for frame in replied
        ]
        return decrypt_outputs(lattice, plan, answers, rows=len(x))

    first, sent = clock(encrypt)
    second, replied = clock(lambda: serve(sent))
    third, outputs = clock(lambda: decrypt(replied))
    room = plan.rows * math.ceil(len(x) / plan.rows)
    return Found(first, second, third, sum(map(len, sent)), sum(map(len, replied)), outputs, room)


def error_of(found: Found, plain: Floats) -> float:
    """The largest of the outputs' root mean square errors."""
    return float(np.sqrt(((found.outputs - plain[: len(found.outputs)]) ** 2).mean(axis=0)).max())


def show(rows: dict[str, Found], plain: Floats) -> None:
    """A table of figures for an image of a full batch, and how our times compare."""
    print("| | images | encrypt | server | decrypt | whole | bytes up | down | error | decisions as plain |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    for name, found in rows.items():
        right = plain[: len(found.outputs)]
        agree = (found.outputs.argmax(axis=1) == right.argmax(axis=1)).sum()
        times = [f"{1e3 * one:.4g}" for one in (*found.each(), sum(found.each()))]
        sizes = [f"{size / found.room:,.0f}" for size in (found.up, found.down)]
        share = f"{100 * agree / len(right):.2f} % of {len(right)}"
        print("| " + " | ".join([name, f"{len(right)}", *times, *sizes, f"{error_of(found, plain):.2g}", share]) + " |")
    factors(rows, f"{len(plain):,} images", lambda one: len(one.outputs))
    factors(rows, "full batches", lambda one: one.room)


def factors(rows: dict[str, Found], what: str, images_of: Callable[[Found], int]) -> None:
    """How many times our time a peer's is, for an image."""
    mine = [name for name in rows if name.startswith("Wardline")]
    print(f"\n| times as long, {what} | " + " | ".join(f"{name}: server | end to end" for name in mine) + " |")
    print("| --- |" + " ---: | ---: |" * len(mine))
    for name, found in rows.items():
        if name in mine:
            continue
        cells = []
        for one in (rows[other] for other in mine):
            share = images_of(one) / images_of(found)
            whole = [each.encrypt + each.serve + each.decrypt for each in (found, one)]
            cells += [f"{share * found.serve / one.serve:,.4g}", f"{share * whole[0] / whole[1]:,.4g}"]
        print(f"| {name} | " + " | ".join(cells) + " |")


def main() -> None:
    """Measure, and print Markdown."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("folder", type=Path, nargs="?", help="what examples/mnist-encrypted/train.py wrote")
    options.add_argument("--images", type=int, default=4096)
    options.add_argument("--few", type=int, default=3, help="images of the tutorial's way")
    options.add_argument("--only", nargs="*", choices=("ours", "tutorial", "batched", "tuned"))
    options.add_argument("--error", type=float, help="asked for of ours; the tuned peer's")
    chosen = options.parse_args()
    if chosen.folder is None:
        generator = np.random.default_rng(0)
        program, sample, x = untrained(), generator.random((CALIBRATION, 784)), generator.random((chosen.images, 784))
    else:
        program = load_program(chosen.folder)
        sample, x, _ = images(chosen.images)
    layers, plain = Layers.of(program), program.evaluate(x)
    print(
        f"python {platform.python_version()}, tenseal {ts.__version__}, {platform.machine()}, {os.cpu_count()} CPUs,",
        end="",
    )
    print(f" load {os.getloadavg()[0]:.1f}; one thread, CPU ms an image\n")
    wanted = chosen.only or ("ours", "tutorial", "batched", "tuned")
    rows: dict[str, Found] = {}
    if "tutorial" in wanted:
        rows["TenSEAL, its tutorial, an image a ciphertext"] = tutorial(layers, x[: chosen.few])
    if "batched" in wanted:
        rows["TenSEAL, batched tensors, the tutorial's parameters"] = batched(layers, x, TUTORIAL, tuned=False)
    least = chosen.error
    if "tuned" in wanted:
        found = rows["TenSEAL, batched tensors, tuned"] = batched(layers, x, TUNED, tuned=True)
        least = error_of(found, plain) if least is None else least
    if "ours" in wanted:
        warm_up()
        for protect, kind in ((True, "protected"), (False, "not protected")):
            rows[f"Wardline, {kind}"] = ours(program, sample, x, protect=protect)
            if least is not None and error_of(rows[f"Wardline, {kind}"], plain) > least:
                rows[f"Wardline, {kind}, error {least:.2g}"] = ours(program, sample, x, protect=protect, error=least)
    show(rows, plain)
    print(f"\nload {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
