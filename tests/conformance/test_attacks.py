"""Every attack in the catalogue passes the suite, attacks with a planted mistake do not, and strangers can join."""

from __future__ import annotations

import dataclasses
import importlib
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import nn

from wardline.attacks.catalogue import CATALOGUE, find_attack, known_attacks
from wardline.attacks.protocol.attack import AttackEntry
from wardline.attacks.protocol.conformance import AttackConformance, Subject, attack_conformance
from wardline.attacks.protocol.examples import Batch, Labelled, attack_examples
from wardline.attacks.protocol.ledger import BudgetSpent
from wardline.attacks.protocol.result import AttackResult, Budget, Check, Threat
from wardline.attacks.protocol.spec import InputSpec, TextSpec
from wardline.attacks.protocol.target import Access, Target
from wardline.core import UsageError
from wardline.models.answers import AnswerForm
from wardline.models.callable_predictor import CallablePredictor
from wardline.models.predictor import Inputs
from wardline.models.torch_predictor import TorchPredictor
from wardline.robust.ball import Ball

EXAMPLES = "wardline.attacks.protocol.examples:Labelled"
ENTRIES = [entry for entry in CATALOGUE if entry.data == EXAMPLES and entry.family in {"evasion", "text"}]
# What a default of an attack is worth on a real model is not at stake here: searches are cut to a few steps.
CHEAP = {"steps": 4, "queries": 60, "weights": 2, "targets": 2, "first_probes": 8}


class Net(nn.Module):
    """Three classes of 1x4x4 images, by the brightness of three regions; fixed weights, wide enough to be curved."""

    def __init__(self) -> None:
        super().__init__()
        rng = np.random.default_rng(4)
        regions = np.kron(np.eye(4)[:3], np.ones(4)) * 3
        self.first = nn.Parameter(torch.from_numpy((regions + 0.1 * rng.normal(size=(3, 16))).astype(np.float32)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.tanh(x.flatten(1) @ self.first.T - 6) * 5


@cache
def images() -> tuple[TorchPredictor, InputSpec, Labelled]:
    rng = np.random.default_rng(1)
    y = np.arange(10, dtype=np.int64) % 3
    bright = np.kron(np.eye(4)[:3], np.ones(4))[y] * 0.12 + 0.44
    x = np.clip(bright + rng.normal(0, 0.01, (10, 16)), 0, 1).astype(np.float32).reshape(10, 1, 4, 4)
    predictor = TorchPredictor(Net(), classes=3)
    assert (predictor.answer(x).argmax(axis=1) == y).all()
    return predictor, InputSpec(shape=(1, 4, 4)), Labelled(x=x, y=y)


@cache
def rows() -> tuple[TorchPredictor, InputSpec, Labelled]:
    """A table: five numbers, a whole number, a one-hot group of three, and a column that cannot be changed."""
    rng = np.random.default_rng(2)
    x = np.column_stack(
        [rng.random((40, 5)), rng.integers(0, 6, 40), np.eye(3)[rng.integers(0, 3, 40)], rng.random(40)]
    )
    x = x.astype(np.float32)
    low, high = np.zeros(10, np.float32), np.ones(10, np.float32)
    high[5] = 5
    steps = np.zeros(10, np.float32)
    steps[5] = 1
    mutable = np.ones(10, dtype=np.bool_)
    mutable[9] = False
    spec = InputSpec(shape=(10,), low=low, high=high, steps=steps, mutable=mutable, groups=((6, 7, 8),))
    layer = nn.Linear(10, 2)
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(np.stack([np.zeros(10), [2, -2, 1, 1, -1, 0.3, 1, -1, 0, 2]])))
        layer.bias.copy_(torch.tensor([0.0, -1.5]))
    predictor = TorchPredictor(layer.eval(), classes=2)
    y = predictor.answer(x).argmax(axis=1).astype(np.int64)
    return predictor, spec, Labelled(x=x[:10], y=y[:10])


@cache
def texts() -> tuple[CallablePredictor, TextSpec, Labelled]:
    """Short reviews, and a model that counts praise and blame."""
    praise, blame = {"good", "great", "lovely", "fine"}, {"bad", "awful", "dull", "poor"}

    def judge(rows: np.ndarray) -> list[list[float]]:
        words = [row.lower().split() for row in rows]
        found = [sum(word in praise for word in row) - sum(word in blame for word in row) for row in words]
        return [[-one - 0.25, one + 0.25] for one in found]

    reviews = [
        *(f"a {word} film with a story that lasts" for word in sorted(praise)),
        *(f"a {word} film with two {word} hours" for word in sorted(blame)),
        "good actors in a fine and lovely place",
        "poor sound and a dull end",
    ]
    data = Labelled(x=np.array(reviews, dtype=object), y=np.array([1] * 4 + [0] * 4 + [1, 0], dtype=np.int64))
    return CallablePredictor(judge, form=AnswerForm(gives="logits", classes=2)), TextSpec(), data


def subject_of(entry: AttackEntry) -> tuple[Any, Any, Labelled]:
    if entry.family == "text":
        return texts()
    return rows() if "tabular" in entry.id else images()


def cheap(attack: Any) -> Any:
    """The same attack, with little to do and a ball that reaches the border of the small network."""
    names = {one.name for one in dataclasses.fields(attack)} if dataclasses.is_dataclass(attack) else set()
    changes: dict[str, Any] = {name: value for name, value in CHEAP.items() if name in names}
    if attack.id == "evasion.cw_l2":
        changes["steps"] = 60  # it creeps up to the border and finds nothing in a few steps
    if "ball" in names:
        radius = {"linf": 0.12, "l2": 0.5, "l1": 2.0}[attack.ball.norm]
        changes["ball"] = Ball(norm=attack.ball.norm, radius=radius)
    return dataclasses.replace(attack, **changes)


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.id)
def test_every_attack_on_examples_passes_the_suite(entry: AttackEntry) -> None:
    predictor, spec, data = subject_of(entry)
    report = attack_conformance(
        Subject(make=lambda: cheap(entry.load()()), predictor=predictor, spec=spec, data=data, seed=3)
    )
    report.raise_for_failures()
    said = {check.name: check.detail for check in report.checks}
    assert {"described", "same-seed-same-json", "honest-counting", "query-cap", "data-kept", "successes"} <= said.keys()
    # Words takes its substitutes from the texts under attack, and ten are too few to find any.
    if entry.id != "text.words":
        assert said["successes"] != "nothing was found", "the control: there is something to look at"
    attack = entry.load()()
    assert (attack.id, attack.needs, attack.paper) == (entry.id, entry.needs, entry.paper)


def test_the_whole_catalogue_can_be_loaded_and_names_what_it_is() -> None:
    for entry in CATALOGUE:
        assert entry.id.partition(".")[0] == entry.family
        assert callable(entry.load())
        module, _, name = entry.data.partition(":")
        assert isinstance(getattr(importlib.import_module(module), name), type)
        assert entry.summary
        assert entry.paper


@dataclass(frozen=True, kw_only=True)
class Guess:
    """A sound attack that draws points from a ball; the planted mistakes below are made to it."""

    ball: Ball = field(default_factory=lambda: Ball(norm="linf", radius=0.15))
    tries: int = 12
    id: ClassVar[str] = "evasion.guess"
    needs: ClassVar[Access] = Access.LABELS
    paper: ClassVar[str] = "Nobody 2026"

    def threat(self, target: Target) -> Threat:
        return Threat(goal="another class", access=target.access, limits=f"linf at most {self.ball.radius}")

    def within(self, changed: Inputs, original: Inputs) -> np.ndarray:
        return np.abs(changed - original).reshape(len(changed), -1).max(axis=1) <= self.ball.radius + 1e-6

    def run(self, target: Target, data: Labelled, budget: Budget, seed: int) -> AttackResult:
        return attack_examples(self, target, data, budget=budget, seed=seed)

    def craft(self, target: Target, batch: Batch) -> tuple[Check, ...]:
        rng = self.generator(batch)
        for _ in range(self.tries):
            noise = rng.uniform(-self.ball.radius, self.ball.radius, batch.x.shape)
            tried = target.spec.repair((batch.x + noise).astype(np.float32), batch.x)
            better = self.ask(target, tried) != batch.y
            batch.best[better] = tried[better]
        return ()

    def generator(self, batch: Batch) -> Any:
        return batch.seeds.numpy("guess")

    def ask(self, target: Target, x: Inputs) -> np.ndarray:
        return target.labels(x)


class Unseeded(Guess):
    def generator(self, batch: Batch) -> Any:
        return np.random.default_rng()


class SharedGenerator(Guess):
    def generator(self, batch: Batch) -> Any:
        np.random.seed(0)
        return np.random


class Uncounted(Guess):
    def ask(self, target: Target, x: Inputs) -> np.ndarray:
        return target.predictor.answer(x).argmax(axis=1)


class Overwriting(Guess):
    def craft(self, target: Target, batch: Batch) -> tuple[Check, ...]:
        return super().craft(target, batch)

    def run(self, target: Target, data: Labelled, budget: Budget, seed: int) -> AttackResult:
        result = super().run(target, data, budget, seed)
        data.x[0] += 0.001
        return result


class Greedy(Guess):
    """Lets the end of its budget pass through."""

    def run(self, target: Target, data: Labelled, budget: Budget, seed: int) -> AttackResult:
        result = super().run(target, data, budget, seed)
        if any(check.name == "budget" and check.outcome.value != "pass" for check in result.checks):
            raise BudgetSpent("no more")
        return result


class Peeking(Guess):
    """Says that it needs scores, and works without."""

    needs: ClassVar[Access] = Access.SCORES

    def run(self, target: Target, data: Labelled, budget: Budget, seed: int) -> AttackResult:
        plain = Guess(ball=self.ball)
        return dataclasses.replace(plain.run(target, data, budget, seed), attack=self.id, paper=self.paper)


class Inventing(Guess):
    """Reports successes that are none."""

    def run(self, target: Target, data: Labelled, budget: Budget, seed: int) -> AttackResult:
        result = super().run(target, data, budget, seed)
        found = np.ones_like(result.examples["found"])
        return dataclasses.replace(result, examples={**result.examples, "found": found})


class Straying(Guess):
    """Changes more than it may, and judges itself mildly."""

    def run(self, target: Target, data: Labelled, budget: Budget, seed: int) -> AttackResult:
        wide = Guess(ball=Ball(norm="linf", radius=0.5))
        return wide.run(target, data, budget, seed)


class Almighty(Straying):
    """Has success when nothing may be changed."""

    def within(self, changed: Inputs, original: Inputs) -> np.ndarray:
        return np.ones(len(changed), dtype=np.bool_)


class Unspeakable(Guess):
    def run(self, target: Target, data: Labelled, budget: Budget, seed: int) -> AttackResult:
        return dataclasses.replace(super().run(target, data, budget, seed), details={"margin": float("nan")})


class Nameless(Guess):
    id: ClassVar[str] = "Guess"
    paper: ClassVar[str] = "folklore"


def examine(kind: type[Guess]) -> AttackConformance:
    predictor, spec, data = images()
    copy = Labelled(x=data.x.copy(), y=data.y.copy())
    return attack_conformance(Subject(make=kind, predictor=predictor, spec=spec, data=copy))


def test_a_sound_attack_passes() -> None:
    report = examine(Guess)
    report.raise_for_failures()
    assert "powerless" in str(report)


@pytest.mark.parametrize(
    ("kind", "failed"),
    [
        (Unseeded, "same-seed-same-json"),
        (SharedGenerator, "global-state"),
        (Uncounted, "honest-counting"),
        (Overwriting, "data-kept"),
        (Greedy, "query-cap"),
        (Peeking, "access"),
        (Inventing, "successes"),
        (Straying, "within-threat"),
        (Almighty, "powerless"),
        (Nameless, "described"),
        (Unspeakable, "canonical-json"),
    ],
)
def test_a_planted_mistake_is_noticed(kind: type[Guess], failed: str) -> None:
    report = examine(kind)
    assert failed in report.failed, str(report)
    with pytest.raises(AssertionError, match=f"fail {failed}"):
        report.raise_for_failures()


PACKAGE = """
from dataclasses import dataclass
from wardline.attacks.protocol.attack import AttackEntry
from wardline.attacks.protocol.target import Access

entry = AttackEntry(
    id="evasion.stranger",
    family="evasion",
    needs=Access.LABELS,
    summary="inverts the picture",
    paper="Stranger 2026, section 1",
    factory="wl_stranger.attack:Invert",
)
imposter = object()
"""

ATTACK = """
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from wardline.attacks.protocol.examples import attack_examples
from wardline.attacks.protocol.result import Threat
from wardline.attacks.protocol.target import Access


@dataclass(frozen=True, kw_only=True)
class Invert:
    id: ClassVar[str] = "evasion.stranger"
    needs: ClassVar[Access] = Access.LABELS
    paper: ClassVar[str] = "Stranger 2026, section 1"

    def threat(self, target):
        return Threat(goal="another class", access=target.access, limits="the inverted picture")

    def within(self, changed, original):
        same = changed == original
        return (same | np.isclose(changed, 1 - original)).reshape(len(changed), -1).all(axis=1)

    def run(self, target, data, budget, seed):
        return attack_examples(self, target, data, budget=budget, seed=seed)

    def craft(self, target, batch):
        batch.best[:] = 1 - batch.x
        return ()
"""


def install(folder: Path, points: str) -> None:
    """What an installer leaves: a package, and beside it a folder with metadata and entry points."""
    package = folder / "wl_stranger"
    package.mkdir()
    (package / "__init__.py").write_text(PACKAGE)
    (package / "attack.py").write_text(ATTACK)
    about = folder / "wl_stranger-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: wl-stranger\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(f"[wardline.attacks]\n{points}\n")


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    for name in [name for name in sys.modules if name.startswith("wl_stranger")]:
        del sys.modules[name]


def test_another_package_adds_an_attack_that_passes_the_suite(site: Path) -> None:
    assert "evasion.stranger" not in {entry.id for entry in known_attacks()}
    install(site, "evasion.stranger = wl_stranger:entry")
    entry = find_attack("evasion.stranger")
    assert "wl_stranger.attack" not in sys.modules, "a list of attacks imports no attack"
    predictor, spec, data = images()
    report = attack_conformance(Subject(make=entry.load(), predictor=predictor, spec=spec, data=data))
    report.raise_for_failures()


@pytest.mark.parametrize(
    ("points", "message"),
    [
        ("evasion.other = wl_stranger:entry", "is no AttackEntry of that id"),
        ("evasion.stranger = wl_stranger:imposter", "is no AttackEntry of that id"),
    ],
)
def test_what_is_offered_under_a_false_name_is_refused(site: Path, points: str, message: str) -> None:
    install(site, points)
    with pytest.raises(UsageError, match=message) as caught:
        known_attacks()
    assert caught.value.hint
