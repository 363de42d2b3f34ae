"""The shapes in the signatures of the local model are true.

Its modules run with the base install, so they import jaxtyping for type checkers only. Here that import is carried out,
and every call below is checked against the signatures.
"""

from __future__ import annotations

import subprocess
import sys

SCRIPT = """
import typing
import numpy as np
import sys, types
from beartype import BeartypeConf, beartype
from jaxtyping import TypeCheckError, install_import_hook
import wardline.core
import wardline.dp.accounting.events
import wardline.dp.mechanisms

NAMES = ["_chance", "_scores", "choice", "frequency", "hadamard", "memo", "numeric", "rappor", "responses", "unary",
         "vectors", "wire"]
checker = types.ModuleType("checker")
checker.check = beartype(conf=BeartypeConf(is_pep484_tower=True))  # a whole number will do for a float
sys.modules["checker"] = checker
typing.TYPE_CHECKING = True
import importlib, tempfile
from pathlib import Path
with install_import_hook([f"wardline.dp.local.{name}" for name in NAMES], "checker.check"):
    modules = {name: importlib.import_module(f"wardline.dp.local.{name}") for name in NAMES}
random = wardline.core.SecureRandom()
local = importlib.import_module("wardline.dp.local")
values = np.arange(300) % 70
mechanisms = [
    local.RandomisedResponse(size=70, epsilon=1.0), local.UnaryEncoding(size=70, epsilon=1.0),
    local.HadamardResponse(size=70, epsilon=1.0), local.Rappor(size=70, epsilon=2.0, report_epsilon=1.0),
]
for mechanism in mechanisms:
    reports = mechanism.randomise(values, random=random)
    received = local.decode(mechanism, local.encode(mechanism, reports))
    estimate = mechanism.estimate(mechanism.tally(received.reports))
    assert estimate.counts.shape == mechanism.variance(np.ones(70)).shape == estimate.consistent().shape == (70,)
    estimate.intervals()
    mechanism.claim()
    local.simulate(mechanism, values, random=random)
for method in ("duchi", "piecewise", "hybrid"):
    mechanism = local.NumericResponse(lower=0.0, upper=1.0, epsilon=1.0, method=method)
    reports = local.decode(mechanism, local.encode(mechanism, mechanism.randomise(values / 70, random=random))).reports
    mechanism.estimate(mechanism.tally(reports)).interval()
mechanism = local.NumericVectorResponse(lower=(0.0,) * 3, upper=(1.0,) * 3, epsilon=5.0)
rows = np.zeros((200, 3))
reports = local.decode(mechanism, local.encode(mechanism, mechanism.randomise(rows, random=random))).reports
mechanism.estimate(mechanism.tally(reports))
with tempfile.TemporaryDirectory() as folder:
    client = local.MemoisedClient(mechanisms[-1], Path(folder) / "memo", random=random)
    assert len({client.report(3), client.report(3)}) == 2
try:
    modules["_chance"].column_sums(np.zeros(3, dtype=np.uint64))
except TypeCheckError:
    print("checked")
"""


def test_shapes_hold_and_wrong_ones_are_found() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "checked"
