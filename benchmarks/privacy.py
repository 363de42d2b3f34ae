"""What privacy attacks find on public data: membership, gradients, classes, attributes, shares, and a missing row.

Run: ``WARDLINE_DATA=../shared/data python benchmarks/privacy.py``. Everything is seeded; it takes some minutes.
"""

from __future__ import annotations

import itertools
import os
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import torch
from scipy.optimize import minimize
from torch import nn

from wardline.attacks.membership.driver import Limits, MembershipData
from wardline.attacks.membership.label_only import LabelOnly
from wardline.attacks.membership.score_attacks import ScoreAttack
from wardline.attacks.membership.shadow import ReferenceRecipe
from wardline.attacks.protocol.examples import Labelled
from wardline.attacks.protocol.result import AttackResult, Budget
from wardline.attacks.protocol.spec import InputSpec
from wardline.attacks.protocol.target import Target
from wardline.attacks.reconstruction.attribute import AttributeData, AttributeInference
from wardline.attacks.reconstruction.first_layer import FirstLayer
from wardline.attacks.reconstruction.informed import InformedAdversary, InformedData
from wardline.attacks.reconstruction.inversion import InversionData, ModelInversion
from wardline.attacks.reconstruction.matching import GradientMatching
from wardline.attacks.reconstruction.property import PropertyData, PropertyInference
from wardline.attacks.reconstruction.sharing import Defence, GradientData, Simulation
from wardline.core import Seeds
from wardline.data import Examples
from wardline.dp import PlainConfig, train_plain
from wardline.models import Mlp, build, torch_generator
from wardline.models.torch_predictor import TorchPredictor

DATA = Path(os.environ.get("WARDLINE_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
NUMBERS = ("age", "education_num", "hours_per_week")
WORDS = ("sex", "workclass", "marital_status", "occupation", "relationship", "race")
DEFENCES = {
    "none": Defence(),
    "clipping to 0.5": Defence(clip_norm=0.5),
    "noise 0.01": Defence(noise=0.01),
    "noise 0.05": Defence(noise=0.05),
    "largest 10 % shared": Defence(kept=0.1),
    "largest 1 % shared": Defence(kept=0.01),
    "DP-SGD, noise multiplier 0.1": Defence.dp_sgd(clip_norm=0.5, noise_multiplier=0.1, batch=1),
    "DP-SGD, noise multiplier 1": Defence.dp_sgd(clip_norm=0.5, noise_multiplier=1.0, batch=1),
}


def mnist() -> tuple[np.ndarray, np.ndarray]:
    """14 by 14 pixels, in an order of its own."""
    file = np.load(DATA / "mnist" / "train.npz")
    order = Seeds(0).numpy("mnist").permutation(len(file["y"]))[:12_000]
    x = (file["x"][order] / 255.0).reshape(-1, 1, 14, 2, 14, 2).mean(axis=(3, 5)).astype(np.float32)
    return x, file["y"][order].astype(np.int64)


def adult() -> Examples:
    """Three numbers scaled to [0, 1] and six one-hot columns; the first two columns are the sex."""
    table = pq.read_table(DATA / "adult" / "train.parquet")
    parts, names = [], []
    for name in WORDS:
        values = np.array(table[name].to_pylist())
        kinds = np.unique(values)
        parts.append(values[:, None] == kinds[None])
        names += [f"{name}={kind}" for kind in kinds]
    for name in NUMBERS:
        values = table[name].to_numpy().astype(np.float64)
        parts.append(((values - values.min()) / np.ptp(values))[:, None])
        names.append(name)
    y = (np.array(table["income"].to_pylist()) == ">50K").astype(np.int64)
    order = Seeds(0).numpy("adult").permutation(len(y))
    x = np.concatenate(parts, axis=1).astype(np.float32)[order]
    return examples(x, y[order], names=tuple(names), classes=("<=50K", ">50K"))


def examples(x: np.ndarray, y: np.ndarray, *, names: tuple[str, ...] = (), classes: tuple[str, ...] = ()) -> Examples:
    flat = x.reshape(len(x), -1)
    return Examples(
        x=flat, y=y, unit=np.arange(len(x)), features=names or tuple(f"p{i}" for i in range(flat.shape[1])),
        classes=classes or tuple(str(i) for i in range(10)),
    )  # fmt: skip


def told(name: str, result: AttackResult, *more: str) -> None:
    rate = "no figure" if result.rate is None else f"{result.rate:.3f} {result.interval}"
    checks = ", ".join(f"{c.name}: {c.detail}" for c in result.checks if c.name == "control")
    print(
        f"| {name} | {rate} | {result.chance:.3f} | {' | '.join(more)} | {result.verdict.value} | {checks}", flush=True
    )


def membership(x: np.ndarray, y: np.ndarray) -> None:
    print("\nMembership: MNIST 14x14, Mlp(64) on 2,000 rows, 2,000 others, 16 references")
    architecture = Mlp(inputs=196, hidden=(64,), classes=10)
    training = PlainConfig(batch=64, epochs=60, learning_rate=0.01)
    members, others, population = (
        examples(x[a : a + n], y[a : a + n]) for a, n in ((0, 2000), (2000, 2000), (4000, 4000))
    )
    model = train_plain(architecture, members, config=training, seeds=Seeds(1))
    print("accuracy", (model.predict(members.x) == members.y).mean(), (model.predict(others.x) == others.y).mean())
    target = Target(TorchPredictor.of(model), InputSpec(shape=(196,)))
    recipe = ReferenceRecipe(architecture=architecture, training=training, references=16)
    data = MembershipData(members=members, non_members=others, recipe=recipe, population=population)
    methods = ("loss", "rmia", "rmia_offline", "lira", "lira_offline")
    for attack in [*(ScoreAttack(method=method) for method in methods), LabelOnly(limits=Limits(max_candidates=2000))]:
        began = time.process_time()
        result = attack.run(target, data, Budget(), 0)
        told(attack.id, result, f"AUC {result.details['auc']['value']:.3f}", f"{time.process_time() - began:.0f} s")


def gradients(x: np.ndarray, y: np.ndarray) -> None:
    network = nn.Sequential(
        nn.Conv2d(1, 12, 5, padding=2, stride=2), nn.Sigmoid(), nn.Conv2d(12, 12, 5, padding=2, stride=2), nn.Sigmoid(),
        nn.Conv2d(12, 12, 5, padding=2), nn.Sigmoid(), nn.Flatten(), nn.Linear(12 * 16, 10),
    )  # fmt: skip
    generator = torch_generator(Seeds(0), "network")
    with torch.no_grad():
        for value in network.parameters():
            value.uniform_(-0.5, 0.5, generator=generator)
    dense = nn.Sequential(nn.Flatten(), build(Mlp(inputs=196, hidden=(64,), classes=10), generator=generator))
    spec = InputSpec(shape=(1, 14, 14))
    for title, module, attack, rows in (
        ("iDLG, LeNet with sigmoids, 300 steps", network, GradientMatching(steps=300), 16),
        ("first layer, Mlp(64)", dense, FirstLayer(), 200),
    ):
        print(f"\nGradients of single rows: {title}, MNIST 14x14, {rows} rows, success from 20 dB")
        target = Target(TorchPredictor(module, classes=10), spec)
        for name, defence in DEFENCES.items():
            sharer = Simulation(module, defence=defence, seeds=Seeds(1))
            result = attack.run(target, GradientData.collect(sharer, x[:rows], y[:rows], prior=x[6000:]), Budget(), 0)
            near, guess = result.details["psnr_db"], result.details["psnr_of_guess_db"]
            told(name, result, f"{near['mean']:.1f} dB", f"guess {guess['mean']:.1f} dB")


def inversion(x: np.ndarray, y: np.ndarray) -> None:
    print("\nModel inversion: MNIST 14x14, Mlp(64) on 4,000 rows, judge on 4,000 others")
    models = []
    for index in range(2):
        part = slice(4000 * index, 4000 * (index + 1))
        architecture = Mlp(inputs=196, hidden=(64,), classes=10)
        config = PlainConfig(batch=64, epochs=10, learning_rate=0.01)
        model = train_plain(architecture, examples(x[part], y[part]), config=config, seeds=Seeds(index))
        models.append(TorchPredictor(nn.Sequential(nn.Flatten(), model.module()), classes=10))
    means = np.stack([x[:4000][y[:4000] == label].mean(axis=0) for label in range(10)])
    target = Target(models[0], InputSpec(shape=(1, 14, 14)))
    result = ModelInversion().run(target, InversionData(judge=models[1], means=means), Budget(), 0)
    details = result.details
    told(
        "MI-Face", result, f"correlation {details['correlation_to_class_mean']:.2f}",
        f"overall mean {details['correlation_of_overall_mean']:.2f}",
    )  # fmt: skip


def attributes(people: Examples) -> None:
    print("\nAttribute: Adult, the sex of 1,500 people, Mlp(64), population 10,000")
    inside, population = people.take(np.arange(1500)), people.take(np.arange(2000, 12_000))
    spec = InputSpec(shape=(len(people.features),))
    architecture = Mlp(inputs=len(people.features), hidden=(64,), classes=2)
    for name, epochs in (("10 epochs", 10), ("200 epochs", 200)):
        config = PlainConfig(batch=32, epochs=epochs, learning_rate=0.01)
        model = train_plain(architecture, inside, config=config, seeds=Seeds(1))
        data = AttributeData(
            people=Labelled(x=inside.x, y=inside.y), columns=(0, 1), values=np.eye(2, dtype=np.float32),
            population=Labelled(x=population.x, y=population.y),
        )  # fmt: skip
        result = AttributeInference().run(Target(TorchPredictor.of(model), spec), data, Budget(), 0)
        advantage = result.details["advantage"]
        told(name, result, f"imputation {result.details['imputation']['value']:.3f}",
             f"advantage {advantage['value']:.3f} {advantage['interval']}")  # fmt: skip


def shares(people: Examples) -> None:
    print("\nProperty: Adult, 30 or 70 % women among 1,000 rows, Mlp(16), 128 shadows, 100 trials")
    architecture = Mlp(inputs=len(people.features), hidden=(16,), classes=2)
    config = PlainConfig(batch=64, epochs=10, learning_rate=0.01)
    recipe = ReferenceRecipe(architecture=architecture, training=config)
    group = people.x[:, 0] == 1
    target = Target(
        TorchPredictor.of(train_plain(architecture, people.take(np.arange(1000)), config=config, seeds=Seeds(1))),
        InputSpec(shape=(len(people.features),)),
    )
    for name, low, high in (("30 or 70 %", 0.3, 0.7), ("45 or 55 %", 0.45, 0.55)):
        data = PropertyData(pool=people, group=group, shares=(low, high), rows=1000, recipe=recipe)
        for features in ("answers", "weights"):
            attack = PropertyInference(features=features, trials=100)
            told(f"{name}, {features}", attack.run(target, data, Budget(), 0), "")


def missing_row(people: Examples) -> None:
    print("\nInformed adversary: Adult, logistic regression on 1,000 rows, 200 secrets, noise on the sum of gradients")
    x, y = people.x[:1000].astype(np.float64), people.y[:1000]
    sizes = [sum(name.startswith(f"{word}=") for name in people.features) for word in WORDS]
    ends = np.cumsum([0, *sizes])
    groups = tuple(tuple(range(start, end)) for start, end in itertools.pairwise(ends.tolist()))
    spec = InputSpec(shape=(x.shape[1],), groups=groups)
    target = Target(TorchPredictor(nn.Linear(x.shape[1], 2), classes=2), spec)
    for deviation in (0.0, 0.1, 1.0, 10.0):
        push = deviation * Seeds(2).numpy("release").normal(size=x.shape[1] + 1)
        found = perturbed(x, y, push)
        data = InformedData(
            x=x, y=y, secrets=np.arange(200), penalty=1.0, noise=deviation,
            coefficients=found[None, :-1], intercepts=found[-1:],
        )  # fmt: skip
        result = InformedAdversary().run(target, data, Budget(), 0)
        told(f"noise {deviation:g}", result, f"median error {result.details['largest_error']['median']:.1e}")


def perturbed(x: np.ndarray, y: np.ndarray, push: np.ndarray) -> np.ndarray:
    """Coefficients and intercept at the optimum of the loss plus half the squared norm plus a linear term."""

    def loss(values: np.ndarray) -> tuple[float, np.ndarray]:
        logits = x @ values[:-1] + values[-1]
        residual = 1 / (1 + np.exp(-logits)) - y
        total = np.logaddexp(0, logits).sum() - (y * logits).sum() + (values[:-1] ** 2).sum() / 2 + push @ values
        return total, np.append(x.T @ residual + values[:-1], residual.sum()) + push

    return minimize(loss, np.zeros(x.shape[1] + 1), jac=True, method="BFGS", options={"gtol": 1e-9}).x


def main() -> None:
    pictures, people = mnist(), adult()
    missing_row(people)
    attributes(people)
    shares(people)
    inversion(*pictures)
    membership(*pictures)
    gradients(*pictures)


if __name__ == "__main__":
    main()
