"""The shapes in the signatures of the numeric rooms are true: checked at run time, while all of them train."""

from __future__ import annotations

import subprocess
import sys

SCRIPT = """
from jaxtyping import TypeCheckError, install_import_hook

MODULES = ["models.trained", "models.torch_model", "dp.training.gradients", "dp.training.noise", "dp.training.sampling"]
with install_import_hook([f"wardline.{module}" for module in MODULES], "beartype.beartype"):
    import numpy as np
    import torch
    from wardline.core import SecureRandom, Seeds
    from wardline.data import Examples
    from wardline.dp import DpSgdConfig, clipped_gradient_sum, train_dp
    from wardline.models import Cnn, Logistic, Mlp, build

rng = np.random.default_rng(0)
examples = Examples(
    x=rng.normal(size=(60, 16)).astype(np.float32), y=rng.integers(0, 2, 60), unit=np.arange(60) // 2,
    features=tuple(f"f{i}" for i in range(16)), classes=("a", "b"),
)
config = DpSgdConfig(epsilon=1.0, delta=1e-3, clip_norm=1.0, noise_multiplier=2.0, sample_rate=0.5, steps=4,
                     learning_rate=0.1, unit="person", max_rows_per_unit=2)
for architecture in (
    Logistic(inputs=16, classes=2),
    Mlp(inputs=12, hidden=(5, 4), classes=2, linear_inputs=4),
    Cnn(shape=(1, 4, 4), channels=(2,), hidden=3, classes=2),
):
    model = train_dp(architecture, examples, config=config, random=SecureRandom(), seeds=Seeds(0))
    assert model.logits(examples.x).shape == (60, 2)
try:
    clipped_gradient_sum(build(architecture), torch.zeros(3, 16), torch.zeros(2, dtype=torch.int64), clip_norm=1.0)
except TypeCheckError:
    print("checked")
"""


def test_shapes_hold_and_wrong_ones_are_found() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "checked"
