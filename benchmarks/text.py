"""Text classifiers and attacks on them: training against a peer, and many texts at once against one at a time.

Run: ``WARDLINE_DATA=... python benchmarks/text.py``. CPU seconds of this process, best of 3, on SMS Spam.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import sklearn
import torch
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from wardline.attacks.protocol.examples import Labelled
from wardline.attacks.protocol.result import Budget
from wardline.attacks.protocol.spec import TextSpec
from wardline.attacks.protocol.target import Target
from wardline.attacks.text.characters import Characters
from wardline.core import Seeds
from wardline.models.text import TextArchitecture, TextPredictor
from wardline.models.text_features import TextFeatures
from wardline.models.text_training import TextConfig, train_text
from wardline.robust.text.layers import Defended
from wardline.robust.text.normalise import Normalise
from wardline.robust.text.spelling import Spelling


def best_of_3(work: Callable[[], Any]) -> tuple[float, Any]:
    seconds = []
    for _ in range(3):
        began = time.process_time()
        found = work()
        seconds.append(time.process_time() - began)
    return min(seconds), found


def main() -> None:
    torch.set_num_threads(1)
    table = pq.read_table(Path(os.environ["WARDLINE_DATA"]) / "sms_spam" / "train.parquet").to_pydict()
    texts = np.array(table["text"], dtype=object)
    labels = np.array([label == "spam" for label in table["label"]], dtype=np.int64)
    order = np.random.default_rng(0).permutation(len(texts))
    held, train = order[:1300], order[1300:]
    print(
        f"python {platform.python_version()}, torch {torch.__version__}, scikit-learn {sklearn.__version__}, 1 thread"
    )

    architecture = TextArchitecture(features=TextFeatures())
    config = TextConfig(epochs=8, batch=32, learning_rate=1e-2)
    ours, model = best_of_3(
        lambda: train_text(
            texts[train],
            labels[train],
            architecture=architecture,
            classes=("ham", "spam"),
            config=config,
            seeds=Seeds(0),
        )
    )
    peer = make_pipeline(TfidfVectorizer(analyzer="char_wb", ngram_range=(3, 5)), LogisticRegression(C=100))
    theirs, fitted = best_of_3(lambda: peer.fit(texts[train], labels[train]))
    for name, seconds, right in (
        ("hashed embeddings", ours, model.predict(texts[held]) == labels[held]),
        ("TF-IDF of character 3- to 5-grams, logistic regression", theirs, fitted.predict(texts[held]) == labels[held]),
    ):
        print(f"train on {len(train)}: {seconds:6.2f} s, accuracy {right.mean():.3f}  {name}")
    print(f"ratio {ours / theirs:.2f}")

    spam = held[labels[held] == 1][:60]
    data = Labelled(x=texts[spam], y=labels[spam])
    attack = Characters(edits=12)
    for batch in (128, 1):
        seconds, result = best_of_3(
            lambda batch=batch: attack.run(Target(TextPredictor(model), TextSpec()), data, Budget(batch=batch), 0)
        )
        spent = f"{result.queries} queries, rate {result.rate:.2f}"
        print(f"attack {len(spam)} texts, {batch:3} at once: {seconds:6.2f} s, {spent}")
    layers = {"normalise": Normalise(), "spelling": Spelling.of(texts[train])}
    clean = TextPredictor(model)
    base, _ = best_of_3(lambda: clean.answer(texts[held]))
    print(f"predict {len(held)}: {1e6 * base / len(held):6.1f} us a text")
    for name, layer in layers.items():
        seconds, _ = best_of_3(lambda layer=layer: Defended(clean, [layer]).answer(texts[held]))
        print(
            f"predict {len(held)}: {1e6 * seconds / len(held):6.1f} us a text behind {name}, {seconds / base:.2f} times"
        )


if __name__ == "__main__":
    main()
