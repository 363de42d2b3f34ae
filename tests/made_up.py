"""Made-up tables for tests."""

from __future__ import annotations

import numpy as np


def people(rows: int = 1000, seed: int = 7) -> str:
    """A made-up table as CSV: sickness depends on age and dose."""
    rng = np.random.default_rng(seed)
    age = rng.integers(0, 100, rows)
    dose = rng.uniform(0, 10, rows)
    ward = rng.choice(["north", "south", "west"], rows)
    sick = np.where(age / 100 - dose / 10 + rng.normal(0, 0.2, rows) > 0, "yes", "no")
    lines = [f"{a},{d:.3f},{w},{s}" for a, d, w, s in zip(age, dose, ward, sick, strict=True)]
    return "age,dose,ward,sick\n" + "\n".join(lines) + "\n"
