"""The defences against copying, under the attacks themselves: what they notice, and what walks past them."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.datasets import load_digits

from wardline.attacks.extraction.jbda import Jbda
from wardline.attacks.extraction.knockoff import Knockoff
from wardline.attacks.extraction.theft import ExtractionData
from wardline.attacks.protocol.result import Budget
from wardline.attacks.protocol.spec import InputSpec
from wardline.attacks.protocol.target import Target
from wardline.core import BudgetError, Seeds
from wardline.data import Examples
from wardline.dp import PlainConfig, train_plain
from wardline.models import Mlp
from wardline.models.torch_predictor import TorchPredictor
from wardline.robust.answers import TopOnly
from wardline.robust.client_budgets import ClientBudgets
from wardline.robust.extraction_monitor import ExtractionMonitor, Watch, calibrate

SPEC = InputSpec(shape=(64,))
WATCH = Watch(least=60, every=20)


class Watched:
    """What a service does with each question: it answers, and the monitor looks on."""

    classes, gives = 10, "labels"

    def __init__(self, model, watch):
        self.model, self.watch = model, watch
        self.monitor = ExtractionMonitor(classes=10, watch=watch)
        self.skip = 2  # the comparison that judges a copy is no client

    def answer(self, x):
        labels = self.model.answer(x)
        if self.skip:
            self.skip -= 1
        else:
            self.last = self.monitor.observe(x, labels)
        return labels


@pytest.fixture(scope="module")
def service():
    x, y = load_digits(return_X_y=True)
    x, y = (x / 16).astype(np.float32), y.astype(np.int64)
    names, classes = tuple(f"p{i}" for i in range(64)), tuple(map(str, range(10)))
    examples = Examples(x=x[:500], y=y[:500], unit=np.arange(500), features=names, classes=classes)
    config = PlainConfig(batch=64, epochs=10, learning_rate=5e-3)
    network = train_plain(Mlp(inputs=64, hidden=(32,), classes=10), examples, config=config, seeds=Seeds(0))
    model = TopOnly(TorchPredictor.of(network))
    clients = [x[np.random.default_rng(seed).choice(500, 300, replace=False)] for seed in range(19)]
    watch = calibrate([(rows, model.answer(rows)) for rows in clients], classes=10, false_alarm_rate=0.1, watch=WATCH)
    return model, watch, ExtractionData(pool=x[500:1200], held_out=x[1200:])


def test_augmentation_is_noticed_early(service):
    model, watch, data = service
    watched = Watched(model, watch)
    Jbda(seed_rows=60, rounds=2, step=0.05, steps=60).run(Target(watched, SPEC), data, Budget(), 0)
    assert watched.last.alarm
    assert watched.last.statistic < watch.threshold


def test_a_copy_from_natural_inputs_is_not_noticed_and_is_a_good_one(service):
    model, watch, data = service
    watched = Watched(model, watch)
    result = Knockoff(queries=300, steps=300).run(Target(watched, SPEC), data, Budget(), 0)
    assert not watched.last.alarm
    assert result.rate > 0.8


def test_a_budget_for_each_account_ends_a_copy_and_several_accounts_do_not(service):
    model, _, data = service
    budgets = ClientBudgets(queries=100)

    class Budgeted:
        classes, gives = 10, "labels"
        account, judged = "first", 0

        def answer(self, x):
            self.judged += 1
            if self.judged > 2:
                budgets.charge(self.account, len(x))
            return model.answer(x)

    attack = Knockoff(queries=300, steps=300)
    with pytest.raises(BudgetError):
        attack.run(Target(Budgeted(), SPEC), data, Budget(), 0)

    class ManyAccounts(Budgeted):
        def answer(self, x):
            if self.judged < 2:
                return super().answer(x)
            parts = []
            for at in range(0, len(x), 50):
                self.account = f"account {len(budgets._spent)}"
                parts.append(super().answer(x[at : at + 50]))
            return np.concatenate(parts)

    assert attack.run(Target(ManyAccounts(), SPEC), data, Budget(), 0).rate > 0.8
