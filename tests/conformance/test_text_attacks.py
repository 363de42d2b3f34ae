"""Attacks on texts pass the suite for attacks, and are what the catalogue says."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from wardline.attacks.catalogue import find_attack
from wardline.attacks.protocol.attack import Attack
from wardline.attacks.protocol.conformance import Subject, attack_conformance
from wardline.attacks.protocol.examples import Labelled
from wardline.attacks.protocol.spec import TextSpec
from wardline.attacks.text.characters import Characters
from wardline.attacks.text.guesses import Guesses
from wardline.attacks.text.words import Words
from wardline.models.text_vectors import WordVectors
from wardline.robust.text.lexicon import Lexicon

LEXICON = Lexicon(
    substitutes={"prize": ("reward",), "hello": ("dear",)},
    vectors=WordVectors(words=("prize", "reward", "hello"), vectors=np.eye(3, dtype=np.float32)),
)


class Keyword:
    """Calls a text spam that says "prize", the more surely the oftener."""

    classes, gives = 2, "logits"

    def answer(self, x):
        return np.array([[0.5, text.lower().count("prize")] for text in x], dtype=np.float32)


def prizes() -> Labelled:
    x = np.empty(10, dtype=object)
    x[:] = [f"hello, a prize number {row}" if row % 2 else f"hello number {row}" for row in range(10)]
    return Labelled(x=x, y=np.arange(10, dtype=np.int64) % 2)


@pytest.mark.parametrize(
    ("make", "powerless"),
    [
        (lambda: Characters(tries=6), lambda: Characters(edits=0)),
        (lambda: Words(lexicon=LEXICON, nearness=-1), lambda: Words(lexicon=LEXICON, share=0)),
        (lambda: Guesses(guesses=20), lambda: Guesses(edits=0)),
    ],
    ids=["characters", "words", "guesses"],
)
def test_every_attack_on_texts_passes_the_suite(make: Callable[[], Attack], powerless: Callable[[], Attack]) -> None:
    report = attack_conformance(
        Subject(make=make, powerless=powerless, predictor=Keyword(), spec=TextSpec(), data=prizes(), seed=3)
    )
    report.raise_for_failures()
    said = {check.name: check.detail for check in report.checks}
    assert said["successes"] != "nothing was found", "the control: there is something to look at"
    entry, attack = find_attack(make().id), make()
    assert (attack.id, attack.needs, attack.paper) == (entry.id, entry.needs, entry.paper)
    assert type(entry.load()()) is type(attack)
