"""Attacks a spam filter and what defends it: spam that is to pass as harmless.

    WARDLINE_DATA=... python examples/sms-spam/attack.py [--seed 0] [--train-rows N] [--texts N] [--quick]

Prints one row for each defence and attack. Messages that differ in case alone count once and stay on one side.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from wardline.attacks.protocol.examples import Labelled
from wardline.attacks.protocol.result import Budget
from wardline.attacks.text.characters import Characters
from wardline.attacks.text.ladder import climb
from wardline.attacks.text.words import Words
from wardline.core import Seeds
from wardline.models.predictor import Predictor, labels_of
from wardline.models.text import TextArchitecture, TextPredictor
from wardline.models.text_features import TextFeatures
from wardline.models.text_training import TextConfig
from wardline.robust.text.hardening import WorstOfSome
from wardline.robust.text.layers import Defended
from wardline.robust.text.lexicon import corpus_lexicon
from wardline.robust.text.normalise import Normalise
from wardline.robust.text.pipelines import Defences

EDITS = 12  # of messages with 138 characters on average


def messages(root: Path) -> tuple[np.ndarray, np.ndarray]:
    """Distinct messages, and whether each is spam."""
    table = pq.read_table(root / "sms_spam" / "train.parquet").to_pydict()
    first = {text.lower(): row for row, text in reversed(list(enumerate(table["text"])))}
    rows = np.sort(np.fromiter(first.values(), dtype=np.int64))
    texts = np.array(table["text"], dtype=object)[rows]
    return texts, np.array([label == "spam" for label in table["label"]], dtype=np.int64)[rows]


def main() -> None:
    """Train, attack, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=0, help="of the split, the training and the attacks")
    parser.add_argument("--train-rows", type=int, default=None, help="train on so many messages alone")
    parser.add_argument("--texts", type=int, default=None, help="attack so many spam messages alone")
    parser.add_argument("--quick", action="store_true", help="only the plain model and the one behind normalisation")
    options = parser.parse_args()
    seeds = Seeds(options.seed)
    texts, labels = messages(Path(os.environ["WARDLINE_DATA"]))
    order = seeds.numpy("split").permutation(len(texts))
    held, calibration, train = np.split(order, [3 * len(order) // 10, 4 * len(order) // 10])
    train = train[: options.train_rows]
    spam = held[labels[held] == 1][: options.texts]
    lexicon = corpus_lexicon(texts[train], labels[train], seeds=seeds.child("lexicon"), least_count=3)
    defences = Defences(
        architecture=TextArchitecture(features=TextFeatures()),
        config=TextConfig(epochs=8, batch=32, learning_rate=1e-2),
        classes=("ham", "spam"),
        adversary=WorstOfSome(lexicon=lexicon),
    )
    if options.quick:
        plain = TextPredictor(defences.train(texts[train], labels[train], seeds=seeds))
        pipelines: dict[str, Predictor] = {"none": plain, "normalise": Defended(plain, [Normalise()])}
    else:
        pipelines = defences.pipelines(texts[train], labels[train], calibration=texts[calibration], seeds=seeds)
    print(f"{len(train)} messages to learn from, {len(held)} held out, {len(spam)} of them spam and attacked")
    for name, predictor in pipelines.items():
        # A refused message is not right, whatever it is.
        right = labels_of(predictor.answer(texts[held]), predictor.gives) == labels[held]
        print(f"accuracy on all {len(held)}, {name}: {right.mean():.3f}")
    attacks = {
        "look-alikes": Characters(edits=EDITS, kinds=("homoglyph", "invisible"), patience=8),
        "characters": Characters(edits=EDITS),
        "words": Words(lexicon=lexicon),
    }
    data = Labelled(x=texts[spam], y=labels[spam])
    for rung in climb(pipelines, attacks, data, budget=Budget(), seed=options.seed):
        print(rung, flush=True)


if __name__ == "__main__":
    main()
