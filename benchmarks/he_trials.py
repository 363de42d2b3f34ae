"""Errors of encrypted answers beside the predicted ones, over many random linear models and networks.

    OMP_NUM_THREADS=1 python benchmarks/he_trials.py                       # 600 linear models and 400 networks
    OMP_NUM_THREADS=1 python benchmarks/he_trials.py --linear 5 --networks 20

Each trial draws a model and its ranges, plans it, makes new keys, encrypts a full batch, answers it, and compares what
decrypts with the plain model on the same rows. A network has up to three polynomials of degree 2, 3 or 4, any mixture;
one in five is protected by flooding. Deviations are those over rows like the sample's: batches repeat the sample's
rows, and fill up with new ones of the same distribution, which the bounds are compared for as well. Bounds speak of
rows whose numbers stay within the calibrated ranges, those before polynomials too; others are replaced, and counted: a
single number that is far too large wraps around its modulus, and spoils all rows of its batch.

A bound is broken where the ratio is above 1. A deviation is broken where it is above 1.1 and above 1 by more than six
standard errors: where a polynomial of degree 20 makes few rows much noisier than all others, a batch says little. The
exit status is 1 if a prediction is broken.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter

import numpy as np

from wardline.core import UsageError
from wardline.he.compiler.layers import Affine, Polynomial
from wardline.he.compiler.program import Meaning, Program
from wardline.he.frames.evaluation_keys import expand_keys
from wardline.he.linear.evaluation import scores
from wardline.he.linear.plan import plan_linear
from wardline.he.linear.rows import encrypt_rows as encrypt_linear
from wardline.he.linear.rows import unsafe_raw_outputs as unsafe_raw_linear
from wardline.he.network.choice import plan_network, unsafe_plan_unprotected_network
from wardline.he.network.evaluation import replies, unsafe_replies
from wardline.he.network.plan import NetworkWeights
from wardline.he.network.rows import decrypt_outputs, encrypt_rows, unsafe_raw_outputs
from wardline.he.ranges import scaled_rows
from wardline.he.seal.bridge import SealLattice

SAMPLE = 512
MARGIN = 0.1
MOST_OFF, ERRORS = 1.1, 6.0

Ratios = dict[str, tuple[float, float]]
"""What was measured over what was predicted, and the standard error of that."""


def linear(generator: np.random.Generator) -> tuple[str, Ratios]:
    """A random linear model: its name, and ratios; none where it was refused."""
    features, outputs = int(generator.integers(1, 6)), int(generator.integers(1, 3))
    rows = generator.normal(size=(SAMPLE, features)) * 10.0 ** generator.uniform(-2, 3, features)
    weights, bias = generator.normal(size=(outputs, features)) / rows.std(axis=0), generator.normal(size=outputs)
    try:
        plan, secret = plan_linear(weights, bias, low=rows.min(0), high=rows.max(0), sample=rows)
    except OverflowError:
        return "linear", {}
    lattice = SealLattice.generate(plan.parameters)
    (columns,) = encrypt_linear(lattice, plan, rows)
    reply = scores(columns, lattice.evaluation_keys().public, plan=plan, secret=secret)
    off = unsafe_raw_linear(lattice, plan, [reply], rows=len(rows)) - (rows @ weights.T + bias)
    return "linear", {
        "deviation": spread(off, plan.error),
        "largest error": (float(np.abs(off).max() / plan.worst), 0.0),
    }


def spread(off: np.ndarray, predicted: float) -> tuple[float, float]:
    """The noisiest output's deviation over the predicted one, and its standard error."""
    squares = off**2
    place = int(squares.mean(axis=0).argmax())
    mean = float(squares[:, place].mean())
    relative = float(squares[:, place].std() / np.sqrt(len(off)) / mean)
    return float(np.sqrt(mean) / predicted), float(np.sqrt(mean) / predicted * relative / 2)


def network(generator: np.random.Generator) -> tuple[str, Ratios]:
    """A random network: polynomials of any degrees between dense layers."""
    degrees = tuple(generator.integers(2, 5, int(generator.integers(0, 4))).tolist())
    inputs, outputs = int(generator.integers(1, 5)), int(generator.integers(1, 4))
    protected = bool(generator.random() < 0.2)
    program = drawn(generator, degrees, inputs, outputs)
    name = "network " + ("-".join(map(str, degrees)) or "without polynomials") + (", protected" if protected else "")
    sample = generator.normal(size=(SAMPLE, inputs)) * 10.0 ** generator.uniform(-2, 2, inputs)
    program = Program(
        input_shape=(inputs,),
        layers=(
            Affine(weights=np.diag(1.0 / sample.std(axis=0)), offset=np.zeros(inputs), name="scaling"),
            *program.layers,
        ),
        meaning=program.meaning,
    )
    try:
        plan, secret = (plan_network if protected else unsafe_plan_unprotected_network)(program, sample)
    except (OverflowError, UsageError):  # the error is out of reach, or the network too deep
        return name, {}
    lattice = SealLattice.generate(plan.parameters)
    keys = expand_keys(lattice.evaluation_keys(relinearisation=plan.relinearises))
    fresh = generator.normal(size=(plan.rows, inputs)) * sample.std(axis=0)
    half = plan.rows // 2
    fresh[:half] = np.resize(sample, (half, inputs))
    rows = np.clip(fresh, plan.centre - plan.half_width, plan.centre + plan.half_width)
    known = within(secret, scaled_rows(plan, sample), scaled_rows(plan, rows))
    rows = np.where(known[:, None], rows, sample[:1])
    (columns,) = encrypt_rows(lattice, plan, rows)
    answer = (replies if protected else unsafe_replies)(columns, keys, plan=plan, secret=secret)
    off = decrypt_outputs(lattice, plan, [answer], rows=len(rows)) - program.evaluate(rows)
    found = {
        "deviation": spread(off[:half], plan.error),
        "largest error": (float(np.abs(off).max() / plan.worst), 0.0),
        "share of rows replaced": (float(1 - known.mean()), 0.0),
    }
    if not protected:  # the noise that encryption adds, apart from what rounding of weights and outputs does
        noise = unsafe_raw_outputs(lattice, plan, [answer], rows=len(rows)) - secret.simulate(rows, plan)
        last = plan.layers[-1]
        found["noise"] = spread(noise[:half], last.error)
        found["largest noise"] = (float(np.abs(noise).max() / last.bound), 0.0)
    return name, found


def within(secret: NetworkWeights, sample: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Which rows keep every number before a polynomial, and every output, as near to 0 as the sample's reach."""
    found = np.ones(len(rows), dtype=np.bool_)
    for layer in secret.layers:
        stage = layer.stage()
        known, sums = stage.linear(sample), stage.linear(rows)
        low, high = known.min(axis=0), known.max(axis=0)
        wide = MARGIN * (high - low)
        found &= (np.abs(sums) <= np.maximum(np.abs(low - wide), np.abs(high + wide))).all(axis=1)
        sample, rows = stage.bend(known), stage.bend(sums)
    return found


def drawn(generator: np.random.Generator, degrees: tuple[int, ...], inputs: int, outputs: int) -> Program:
    """Dense layers with these polynomials in between."""
    layers: list[Affine | Polynomial] = []
    width = inputs
    for degree in degrees:
        hidden = int(generator.integers(1, 7))
        dense = generator.normal(size=(hidden, width)) / width
        layers.append(Affine(weights=dense, offset=0.5 * generator.normal(size=hidden)))
        last = generator.choice([-1, 1]) * 10.0 ** generator.uniform(-2, 0)
        powers = (*generator.normal(size=degree).tolist(), float(last))
        layers.append(Polynomial(coefficients=powers, units=hidden, interval=(-4.0, 4.0)))
        width = hidden
    layers.append(Affine(weights=generator.normal(size=(outputs, width)), offset=generator.normal(size=outputs)))
    return Program(input_shape=(inputs,), layers=tuple(layers), meaning=Meaning(gives="values"))


def main() -> int:
    """Print Markdown."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--linear", type=int, default=600)
    options.add_argument("--networks", type=int, default=400)
    options.add_argument("--seed", type=int, default=1)
    chosen = options.parse_args()
    held: dict[str, dict[str, list[tuple[float, float]]]] = {"linear": {}, "network": {}}
    refused: Counter[str] = Counter()
    broken = []
    began = time.process_time()
    for number in range(chosen.linear + chosen.networks):
        kind = linear if number < chosen.linear else network
        name, ratios = kind(np.random.default_rng([chosen.seed, number]))
        refused[kind.__name__] += not ratios
        for what, (ratio, error) in ratios.items():
            held[kind.__name__].setdefault(what, []).append((ratio, error))
            most = max(MOST_OFF, 1 + ERRORS * error) if error else 1.0
            if not ratio <= most:
                broken.append(f"trial {number}, {name}: {what} {ratio:.2f} of the predicted one, error {error:.2g}")
    print("| | models | refused | | median ratio | largest ratio | its standard error |")
    print("| --- | ---: | ---: | --- | ---: | ---: | ---: |")
    for kind_name, measured in held.items():
        for what, ratios_of in measured.items():
            largest, error = max(ratios_of)
            print(
                f"| {kind_name} | {len(ratios_of)} | {refused[kind_name]} | {what} "
                f"| {np.median([one for one, _ in ratios_of]):.3g} | {largest:.3g} | {error:.2g} |"
            )
    print(f"\n{len(broken)} predictions broken; {time.process_time() - began:.0f} s of processor time")
    print(*broken, sep="\n")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
