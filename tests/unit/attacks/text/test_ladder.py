"""What each defence buys: on made-up texts, and on real ones at a small size."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

from wardline.attacks.protocol.examples import Labelled
from wardline.attacks.protocol.result import Budget
from wardline.attacks.text.characters import Characters
from wardline.attacks.text.ladder import ALL, Rung, climb
from wardline.robust.text.layers import Defended
from wardline.robust.text.monitor import TextMonitor
from wardline.robust.text.normalise import Normalise

EXAMPLES = Path(__file__).resolve().parents[4] / "examples"


class Keyword:
    """Calls a text spam that says "prize"."""

    classes, gives = 2, "logits"

    def answer(self, x):
        return np.array([[0.5, text.lower().count("prize")] for text in x], dtype=np.float32)


def prizes(rows: int = 40) -> Labelled:
    x = np.empty(rows, dtype=object)
    x[:] = [f"prize {row}" if row % 2 else f"hello {row}" for row in range(rows)]
    return Labelled(x=x, y=np.arange(rows, dtype=np.int64) % 2)


def test_each_rung_says_what_the_defence_is_worth_against_who_knows_it():
    data = prizes()
    monitor = TextMonitor(known={"prize", "hello"}, calibration=np.full(99, 0.6), false_alarm_rate=0.05)
    pipelines = {
        "none": Keyword(),
        "normalise": Defended(Keyword(), [Normalise()]),
        "monitor": Defended(Keyword(), [], monitor=monitor),
    }
    attacks = {"look-alikes": Characters(kinds=("homoglyph",)), "characters": Characters()}
    rungs = {(rung.pipeline, rung.attack): rung for rung in climb(pipelines, attacks, data, budget=Budget(), seed=0)}
    # Every spam is turned into harmless text; nothing turns harmless text into spam.
    assert rungs["none", "look-alikes"].adapted == 0.5
    assert rungs["none", "look-alikes"].transferred == 0.5
    normalised = rungs["normalise", "look-alikes"]
    assert (normalised.clean, normalised.transferred, normalised.adapted) == (1, 1, 1)
    # The defence holds against who does not know it, and not against who does.
    assert rungs["normalise", "characters"].adapted == 0.5
    assert rungs["normalise", ALL].adapted == 0.5
    # A refused text is not broken, and is not got right either.
    assert rungs["monitor", "look-alikes"].transferred == 1
    assert rungs["monitor", "look-alikes"].clean == 1
    assert all(rung.adapted <= rung.clean and rung.adapted_interval.low <= rung.adapted for rung in rungs.values())
    total = sum(rungs["none", name].queries for name in attacks)
    assert rungs["none", ALL].queries == total
    assert "adapted 0.500" in str(rungs["none", ALL])


def test_a_budget_that_ends_early_and_an_empty_ladder_are_refused():
    with pytest.raises(ValueError, match="budget ended"):
        climb({"none": Keyword()}, {"characters": Characters()}, prizes(), budget=Budget(queries=300), seed=0)
    with pytest.raises(ValueError, match="must be a pipeline"):
        climb({}, {"characters": Characters()}, prizes(), budget=Budget(), seed=0)


def example(name: str, monkeypatch: pytest.MonkeyPatch, data_root: Path, *arguments: str) -> list[Rung]:
    """What an example script prints, as values."""
    monkeypatch.setenv("WARDLINE_DATA", str(data_root))
    monkeypatch.setattr(sys, "argv", ["attack.py", *arguments])
    spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / name / "attack.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    seen: list[Rung] = []
    monkeypatch.setattr(module, "climb", lambda *args, **more: seen.extend(climb(*args, **more)) or seen)
    module.main()
    return seen


@pytest.mark.data
@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "rows", "texts", "clean"),
    [("sms-spam", 800, 40, 0.6), ("sst2-text", 8000, 60, 0.55)],
    ids=["spam", "reviews"],
)
def test_the_attack_breaks_the_plain_model_and_normalisation_undoes_look_alikes(
    name, rows, texts, clean, monkeypatch, data_root
):
    rungs = example(name, monkeypatch, data_root, "--train-rows", str(rows), "--texts", str(texts), "--quick")
    by = {(rung.pipeline, rung.attack): rung for rung in rungs}
    plain, read = by["none", "look-alikes"], by["normalise", "look-alikes"]
    assert plain.clean > clean
    assert plain.adapted < plain.clean - 0.25
    assert read.transferred == read.clean
    assert read.adapted == read.clean
    # The adapted attack gets through where the one that does not know the defence does not.
    assert by["normalise", "characters"].adapted < by["normalise", "characters"].transferred
