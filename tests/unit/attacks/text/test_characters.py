"""Changed characters, searched with scores or guessed with labels alone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wardline.attacks.protocol.examples import Batch, Labelled
from wardline.attacks.protocol.result import Budget
from wardline.attacks.protocol.spec import TextSpec
from wardline.attacks.protocol.target import Access, AccessDenied, Target
from wardline.attacks.text.characters import Characters
from wardline.attacks.text.guesses import Guesses
from wardline.core import Seeds, Verdict, canonical_json
from wardline.models.text import TextArchitecture, TextModel, TextPredictor
from wardline.models.text_features import TextFeatures
from wardline.models.text_training import TextConfig, train_text
from wardline.robust.text.layers import Defended
from wardline.robust.text.normalise import Normalise

WORDS = {0: ("dull", "boring", "awful", "grim"), 1: ("lovely", "clever", "warm", "bright")}
ANY = st.text(st.characters(exclude_categories=()), max_size=30)
HOSTILE = st.one_of(
    ANY,
    st.lists(
        st.sampled_from(
            [
                "e\u0301\u0301\u0301",
                "\u202eevil\u202c",
                "\ud800",
                "\U0001f469\u200d\U0001f4bb",
                "a",
                "",
                "\u0645\u0631",
                "1st",
                " ",
            ]
        ),
        max_size=8,
    ).map(" ".join),
)


def texts(*given: str) -> np.ndarray:
    array = np.empty(len(given), dtype=object)
    array[:] = given
    return array


def reviews(rows: int, seed: int) -> Labelled:
    rng = np.random.default_rng(seed)
    labels = rng.integers(2, size=rows).astype(np.int64)
    moods = [(rng.choice(WORDS[int(label)]), rng.choice(WORDS[int(label)])) for label in labels]
    return Labelled(x=texts(*[f"a {one} and {other} film" for one, other in moods]), y=labels)


@pytest.fixture(scope="module")
def model() -> TextModel:
    data = reviews(400, 0)
    return train_text(
        data.x,
        data.y,
        architecture=TextArchitecture(features=TextFeatures(buckets=1 << 12), width=8),
        classes=("bad", "good"),
        config=TextConfig(epochs=4, batch=32, learning_rate=2e-2),
        seeds=Seeds(0),
    )


def target(model: TextModel, **more: object) -> Target:
    return Target(TextPredictor(model), TextSpec(), **more)


LOOK_ALIKES = Characters(kinds=("homoglyph", "invisible"), edits=8)


def test_look_alikes_break_the_undefended_and_normalisation_restores_the_exact_prediction(model):
    data = reviews(60, 1)
    result = LOOK_ALIKES.run(target(model), data, Budget(), 0)
    assert result.verdict is Verdict.FAIL  # the positive control: without this, the next lines would prove nothing
    assert result.rate > 0.8
    defended = Defended(TextPredictor(model), [Normalise()])
    broken = result.examples["adversarial"]
    assert np.array_equal(defended.read(broken), data.x)
    assert np.array_equal(defended.answer(broken), TextPredictor(model).answer(data.x))
    again = LOOK_ALIKES.run(Target(defended, TextSpec()), data, Budget(), 0)
    assert again.rate == 0
    # And the other way round: the attack adapted to the defence takes other edits and breaks it.
    adapted = Characters(edits=8).run(Target(defended, TextSpec()), data, Budget(), 0)
    assert adapted.verdict is Verdict.FAIL
    assert adapted.rate > 0.8


@pytest.mark.parametrize("attack", [Characters(edits=0), Guesses(edits=0)])
def test_without_edits_the_accuracy_is_the_clean_one(model, attack):
    data = reviews(60, 1)
    wrong = Labelled(x=data.x, y=np.where(np.arange(60) < 10, 1 - data.y, data.y))
    result = attack.run(target(model), wrong, Budget(), 0)
    assert result.rate == 0
    assert result.details["robust_accuracy"] == result.details["clean_accuracy"]
    assert result.details["clean_accuracy"]["value"] == 50 / 60
    assert all(check.outcome is Verdict.PASS for check in result.checks)


@pytest.mark.parametrize("attack", [Characters(), Characters(ranking="temporal", beam=3), Guesses(guesses=10)])
def test_the_same_seed_gives_the_same_json_and_another_seed_another_text(model, attack):
    data = reviews(30, 1)
    one, same, other = (attack.run(target(model), data, Budget(batch=16), seed) for seed in (5, 5, 6))
    assert canonical_json(one.to_json()) == canonical_json(same.to_json())
    assert np.array_equal(one.examples["adversarial"], same.examples["adversarial"])
    assert not np.array_equal(one.examples["adversarial"], other.examples["adversarial"])


@settings(max_examples=60, deadline=None)
@given(st.lists(HOSTILE, min_size=1, max_size=3), st.integers(0, 4), st.integers(1, 2), st.booleans(), st.booleans())
def test_edits_are_never_exceeded_whatever_the_text(model, given, edits, beam, numbers, guess):
    x = texts(*given)
    predictor = TextPredictor(model)
    y = predictor.answer(x).argmax(axis=1)
    kinds = {"edits": edits, "numbers": numbers}
    attack = Guesses(guesses=3, **kinds) if guess else Characters(beam=beam, tries=6, **kinds)
    batch = Batch(x=x, y=y, best=x.copy(), seeds=Seeds(0))
    attack.craft(target(model), batch)
    assert attack.within(batch.best, x).all()
    assert np.array_equal(x, texts(*given))


def test_what_left_the_threat_is_seen_without_knowing_how_it_came_about():
    attack = Characters(edits=2)
    original = texts(*["call 0800 now"] * 6)
    changed = texts("call 0800 now", "cakl 0800 noww", "cll 0800 nwo!", "call 080 now", "0800 now", "")
    assert attack.within(changed, original).tolist() == [True, True, False, False, False, False]
    assert Characters(edits=2, numbers=True).within(changed, original)[3]


def test_numbers_are_left_alone_unless_told_otherwise(model):
    x = texts("lovely 0800 0800")
    y = TextPredictor(model).answer(x).argmax(axis=1)
    for attack in (Characters(edits=6, kinds=("delete",)), Guesses(edits=6, kinds=("delete",))):
        batch = Batch(x=x, y=y, best=x.copy(), seeds=Seeds(0))
        attack.craft(target(model), batch)
        assert batch.best[0].endswith(" 0800 0800")


def test_more_edits_and_a_wider_beam_break_no_less(model):
    data = reviews(80, 1)
    rates = [Characters(edits=edits).run(target(model), data, Budget(), 0).rate for edits in (1, 2, 4)]
    assert rates == sorted(rates)
    assert rates[0] < rates[-1]


def test_a_cap_on_queries_hit_in_the_middle_is_stated_and_never_counts_as_robust(model):
    data = reviews(60, 1)
    whole = LOOK_ALIKES.run(target(model), data, Budget(batch=60), 0)
    cut = LOOK_ALIKES.run(target(model), data, Budget(batch=60, queries=whole.queries // 3), 0)
    assert cut.queries <= whole.queries // 3
    assert {check.name: check.outcome for check in cut.checks}["budget"] is Verdict.INCONCLUSIVE
    assert cut.rate < whole.rate
    assert cut.verdict is not Verdict.PASS
    # Even where so much is tolerated that the figure alone would pass.
    lenient = Budget(batch=60, queries=whole.queries // 20, tolerated=0.95)
    assert LOOK_ALIKES.run(target(model), data, lenient, 0).verdict is Verdict.INCONCLUSIVE


def test_a_cap_on_queries_for_each_text_is_kept_and_stated(model):
    data = reviews(20, 1)
    result = Characters(queries_each=12, tries=4).run(target(model), data, Budget(tolerated=0.9), 0)
    # Twice for the first prediction and the repeat, once for the outcome.
    assert result.queries <= 20 * (12 + 3)
    assert {check.name: check.outcome for check in result.checks}["queries-each"] is Verdict.INCONCLUSIVE


def test_a_model_whose_scores_never_move_is_not_called_robust():
    class Constant:
        classes, gives = 2, "logits"

        def answer(self, x):
            return np.tile(np.array([1.0, 0.0], dtype=np.float32), (len(x), 1))

    data = reviews(40, 1)
    data = Labelled(x=data.x, y=np.zeros(40, dtype=np.int64))
    result = Characters().run(Target(Constant(), TextSpec()), data, Budget(), 0)
    assert result.rate == 0
    assert result.verdict is Verdict.INCONCLUSIVE


def test_labels_alone_are_enough_for_guesses_and_not_for_the_search(model):
    data = reviews(40, 1)
    labels = target(model, access=Access.LABELS)
    result = Guesses(edits=8, guesses=60).run(labels, data, Budget(), 0)
    assert result.verdict is Verdict.FAIL
    with pytest.raises(AccessDenied):
        Characters().run(labels, data, Budget(), 0)


@pytest.mark.parametrize(
    "wrong", [{"edits": -1}, {"kinds": ()}, {"kinds": ("typo",)}, {"tries": 0}, {"beam": 0}, {"ranking": "none"}]
)
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(ValueError):
        Characters(**wrong)
