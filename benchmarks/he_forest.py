"""Encrypted forests on credit_default: client, server and bytes, beside scikit-learn in the clear and SEAL's products.

    python benchmarks/he_forest.py [folder of the public data sets] [random forests]

All times are processor times of one thread, so that other work on the machine matters little. Without the data, rows
are drawn at random. Every answer is compared with the forest of integers, and its decisions with the plain model's.
"""

from __future__ import annotations

import math
import os
import platform
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import tenseal.sealapi as seal
from sklearn.ensemble import (
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.tree import DecisionTreeClassifier

from wardline.he.forest.choice import plan_forest
from wardline.he.forest.evaluation import replies, unsafe_replies
from wardline.he.forest.noise import TAIL, output_deviation
from wardline.he.forest.reading import read_forest
from wardline.he.forest.rows import decrypt_steps, encrypt_rows
from wardline.he.frames.evaluation_keys import expand_keys
from wardline.he.kernels.product import multiply_bfv
from wardline.he.kernels.switching import relinearise
from wardline.he.parameters import Parameters, find_primes
from wardline.he.seal.bridge import SealLattice
from wardline.he.seal.files import ciphertext_head
from wardline.he.seal.keys import unsafe_secret
from wardline.he.seal.scratch import Scratch

MODELS = (
    ("decision tree, depth 4", DecisionTreeClassifier(max_depth=4, random_state=0)),
    ("decision tree, depth 8", DecisionTreeClassifier(max_depth=8, max_leaf_nodes=64, random_state=0)),
    ("random forest, 20 x depth 4", RandomForestClassifier(20, max_depth=4, random_state=0)),
    ("extra trees, 20 x depth 4", ExtraTreesClassifier(20, max_depth=4, random_state=0)),
    ("gradient boosting, 100 x depth 1", GradientBoostingClassifier(n_estimators=100, max_depth=1, random_state=0)),
    ("gradient boosting, 100 x depth 2", GradientBoostingClassifier(n_estimators=100, max_depth=2, random_state=0)),
    ("gradient boosting, 100 x depth 3", GradientBoostingClassifier(n_estimators=100, max_depth=3, random_state=0)),
    (
        "histogram boosting, 100 x depth 3, 16 bins",
        HistGradientBoostingClassifier(max_iter=100, max_depth=3, max_bins=16, early_stopping=False, random_state=0),
    ),
)


def clock(work: Callable[[], Any]) -> tuple[float, Any]:
    started = time.process_time()
    found = work()
    return time.process_time() - started, found


def data(folder: Path) -> tuple[str, np.ndarray, np.ndarray]:
    path = folder / "credit_default" / "train.parquet"
    if not path.exists():
        generator = np.random.default_rng(0)
        x = generator.normal(size=(24_000, 23))
        return "random rows", x, (x[:, 0] * x[:, 1] > 0) ^ (x[:, 2] + x[:, 3] > 0.3)
    import polars as pl

    table = pl.read_parquet(path)
    target = (table["DEFAULT_NEXT_MONTH"].cast(pl.Int64) > 0).to_numpy()
    x = table.drop("DEFAULT_NEXT_MONTH").select(pl.selectors.numeric()).to_numpy().astype(np.float64)
    return "credit_default", x, target


def show(name: str, model: Any, x: np.ndarray, target: np.ndarray) -> None:
    train, held = slice(0, 14_000), slice(14_000, None)
    model.fit(x[train], target[train])
    planning, (plan, secret) = clock(lambda: plan_forest(read_forest(model), x[train]))
    lattice = SealLattice.generate(plan.parameters)
    keys = expand_keys(lattice.evaluation_keys(relinearisation=plan.relinearises))
    rows = x[held][: plan.rows]
    turns = []
    for _ in range(3):
        encrypting, (columns,) = clock(lambda: list(encrypt_rows(lattice, plan, rows)))
        serving, found = clock(lambda columns=columns: replies(columns, keys, plan=plan, secret=secret, rows=len(rows)))
        decrypting, steps = clock(lambda found=found: decrypt_steps(lattice, plan, [found], rows=len(rows)))
        turns.append((encrypting, serving, decrypting))
    assert (steps == secret.steps(rows, plan)).all()
    encrypting, serving, decrypting = sorted(turns, key=lambda one: one[1])[1]
    predicting = min(clock(lambda: model.predict(rows))[0] for _ in range(5))
    agreed = ((steps[:, 0] > 0) == (model.predict(rows) > 0)).mean()
    cells = [
        name,
        f"{len(plan.thresholds)}",
        f"{plan.parameters.degree}, {plan.parameters.bits}",
        f"{plan.products} + {plan.last}",
        f"{planning:.2f}",
        f"{1e6 * encrypting / len(rows):.0f}",
        f"{1e6 * serving / len(rows):.1f}",
        f"{len(rows) / serving:,.0f}",
        f"{plan.seconds / serving:.2f}",
        f"{1e6 * decrypting / len(rows):.2f}",
        f"{1e6 * predicting / len(rows):.2f}",
        f"{plan.upload_bytes / len(rows):,.0f}",
        f"{plan.reply_bytes / len(rows):.1f}",
        f"{agreed:.3%}",
    ]
    print("| " + " | ".join(cells) + " |", flush=True)


def products(bits: tuple[int, ...]) -> None:
    """One product with its relinearisation, ours and SEAL's, in the same ring."""
    primes = find_primes(8192, (31, *bits))
    parameters = Parameters(scheme="bfv", degree=8192, moduli=primes[1:], special=primes[0], plain_modulus=163841)
    keys = expand_keys(SealLattice.generate(parameters).evaluation_keys(relinearisation=True))
    generator = np.random.default_rng(0)
    shape = (2, 2, len(bits), 8192)
    some = np.stack([generator.integers(0, prime, shape[:2] + shape[3:]) for prime in primes[1:]], 2).astype(np.uint32)

    def ours() -> None:
        relinearise(
            multiply_bfv(some, some[::-1].copy(), parameters), keys.relinearisation, parameters, form="coefficients"
        )

    ours()
    mine = min(clock(ours)[0] for _ in range(9)) / 2
    total = sum(bits) + 31
    lines = [f"ours, {len(bits)} + 1 primes: {1e3 * mine:.2f} ms"]
    few = -(-total // 55)
    wide = [total // few + (index < total % few) for index in range(few)]
    for name, moduli in (
        ("SEAL, the same primes", [seal.Modulus(one) for one in (*primes[1:], primes[0])]),
        (f"SEAL, {few} primes of its own", seal.CoeffModulus.Create(8192, wide)),
    ):
        theirs = seal_product(moduli)
        lines.append(f"{name}: {1e3 * theirs:.2f} ms, {theirs / mine:.2f} times")
    print(f"{total} bits, product and relinearisation: " + "; ".join(lines))


def seal_product(moduli: Any) -> float:
    settings = seal.EncryptionParameters(seal.SCHEME_TYPE.BFV)
    settings.set_poly_modulus_degree(8192)
    settings.set_coeff_modulus(moduli)
    settings.set_plain_modulus(163841)
    context = seal.SEALContext(settings, True, seal.SEC_LEVEL_TYPE.TC128)
    generator = seal.KeyGenerator(context)
    public, relinearising = seal.PublicKey(), seal.RelinKeys()
    generator.create_public_key(public)
    generator.create_relin_keys(relinearising)
    encoder, encryptor = seal.BatchEncoder(context), seal.Encryptor(context, public)
    evaluator = seal.Evaluator(context)
    plain, one, other, out = seal.Plaintext(), seal.Ciphertext(), seal.Ciphertext(), seal.Ciphertext()
    encoder.encode([1, 0] * 4096, plain)
    encryptor.encrypt(plain, one)
    encryptor.encrypt(plain, other)

    def work() -> None:
        evaluator.multiply(one, other, out)
        evaluator.relinearize_inplace(out, relinearising)

    work()
    return min(clock(work)[0] for _ in range(9))


def trials(count: int) -> None:
    generator = np.random.default_rng(1)
    over, wrong, deepest = [], 0, 0
    for _ in range(count):
        features = int(generator.integers(2, 12))
        x = generator.normal(size=(600, features))
        model = RandomForestRegressor(
            int(generator.integers(1, 5)),
            max_depth=int(generator.integers(1, 9)),
            max_leaf_nodes=int(generator.integers(2, 24)),
            random_state=int(generator.integers(1 << 30)),
        ).fit(x, x.prod(axis=1) + x[:, 0])
        plan, secret = plan_forest(read_forest(model), x)
        lattice = SealLattice.generate(plan.parameters)
        keys = expand_keys(lattice.evaluation_keys(relinearisation=plan.relinearises))
        (columns,) = encrypt_rows(lattice, plan, x)
        (bare,) = unsafe_replies(columns, keys, plan=plan, secret=secret)
        found = replies(columns, keys, plan=plan, secret=secret, rows=len(x))
        wrong += int((decrypt_steps(lattice, plan, [found], rows=len(x)) != secret.steps(x, plan)).sum())
        degree, plain = plan.parameters.degree, plan.parameters.plain_modulus
        room = sum(math.log2(one) for one in plan.parameters.moduli) - 1 - math.log2(plain)
        # The plan has it in whole bits.
        noise_bits = math.log2(TAIL * output_deviation(secret.circuit, degree=degree, plain=plain))
        over.append(room_left(lattice, bare) - (room - noise_bits))
        deepest = max(deepest, plan.depth)
    print(f"\n{count} random forests, up to {deepest} products one after the other: {wrong} wrong outputs; ", end="")
    print("room for noise beyond the predicted one, in bits: ", end="")
    print(f"least {min(over):.1f}, median {np.median(over):.1f}, most {max(over):.1f}")


def room_left(lattice: SealLattice, one: Any) -> int:
    """SEAL's own measure, rounded down to whole bits."""
    context = lattice.key.context
    decryptor = context.seal.Decryptor(context.handle, unsafe_secret(lattice.key))
    loaded = context.seal.Ciphertext()
    head = ciphertext_head(context.levels[one.limbs], parts=len(one.parts), evaluations=False, scale=1.0)
    with Scratch() as scratch:
        scratch.write([head, one.parts.astype("<u8").reshape(-1).data.cast("B")])
        loaded.load(context.handle, scratch.path)
    return int(decryptor.invariant_noise_budget(loaded))


def main() -> None:
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else os.environ.get("WARDLINE_DATA", "../shared/data"))
    name, x, target = data(folder)
    print(f"python {platform.python_version()}, one thread, {name}; processor time in microseconds a row")
    head = (
        "model",
        "thresholds",
        "ring, bits",
        "products",
        "plan, s",
        "encrypt",
        "server",
        "rows/s",
        "predicted/measured",
        "decrypt",
        "scikit-learn",
        "bytes up",
        "bytes down",
        "equal decisions",
    )
    print("| " + " | ".join(head) + " |\n| --- " + "| ---: " * (len(head) - 1) + "|")
    for title, model in MODELS:
        show(title, model, x, target)
    print()
    for bits in ((27,) * 5, (31,) * 6):
        products(bits)
    trials(int(sys.argv[2]) if len(sys.argv) > 2 else 100)


if __name__ == "__main__":
    main()
