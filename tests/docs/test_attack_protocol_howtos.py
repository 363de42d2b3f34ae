"""The code of the pages on attacks, services and monitors runs as it stands there."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import nn

from wardline.attacks.evasion.gradient import Pgd
from wardline.attacks.protocol.examination import preflight
from wardline.attacks.protocol.result import Budget
from wardline.attacks.protocol.spec import InputSpec
from wardline.attacks.protocol.target import Target
from wardline.core import Verdict
from wardline.models.dispatch import predictor_of
from wardline.models.torch_predictor import TorchPredictor

HOWTO = Path(__file__).resolve().parents[2] / "docs" / "howto"


def blocks(page: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", (HOWTO / page).read_text(), flags=re.DOTALL)


def run(block: str, names: dict[str, object]) -> None:
    exec(compile(block, "page", "exec"), names)


def test_the_attack_of_the_page_passes_the_suite_of_the_page(capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, object] = {}
    for block in blocks("add-an-attack.md"):
        run(block, names)
    assert capsys.readouterr().out.count("pass ") == len(names["report"].checks)
    text = (HOWTO / "add-an-attack.md").read_text()
    table = {
        name for row in re.findall(r"^\| (`.*?) \|", text, flags=re.MULTILINE) for name in re.findall(r"`(.+?)`", row)
    }
    # An attack that needs labels alone cannot be refused less.
    assert {check.name for check in names["report"].checks} == table - {"access"}


def test_a_model_is_looked_at_before_it_is_attacked_as_the_page_says() -> None:
    rng = np.random.default_rng(0)
    x = rng.random((80, 4)).astype(np.float32)
    y = (x[:, 0] > 0.5).astype(np.int64)
    target = Target(predictor_of(LogisticRegression(C=100).fit(x, y)), InputSpec(shape=(4,)))
    names = {"target": target, "x": x, "y": y, "attack": Pgd(), "budget": Budget()}
    run(blocks("attack-a-running-service.md")[1], names)
    assert names["result"].checks[-len(names["checks"]) :] == names["checks"]
    text = (HOWTO / "attack-a-running-service.md").read_text()
    for check in preflight(target, names["Labelled"](x=x, y=y)):
        assert f"`{check.name}`" in text
    assert names["result"].verdict in set(Verdict)


def test_the_monitor_and_the_report_of_the_page_run(capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(0)
    x = rng.random((400, 1, 8, 8)).astype(np.float32)
    y = (np.arange(400) % 10).astype(np.int64)
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 12), nn.ReLU(), nn.Linear(12, 10)).eval()
    with torch.no_grad():
        predictor = TorchPredictor(network, classes=10)
    names = {"network": network, "x_train": x[:200], "y_train": y[:200], "x_ordinary": x[200:], "x_today": x[:5]}
    for block in blocks("watch-inputs.md"):
        run(block, {**names, "predictor": predictor, "x": x[:20], "y": y[:20]})
    printed = capsys.readouterr().out
    assert "monitor.mahalanobis: false_alarm_prob <= 0.01" in printed
    assert "corrupted" in printed
