"""Small tables for the estimators."""

from __future__ import annotations

import numpy as np
import pytest

from wardline.core import Seeds


@pytest.fixture(scope="session")
def blobs():
    """Three classes that a straight line parts well: 900 rows of two features within [-4, 4]."""
    rng = Seeds(11).numpy("blobs")
    y = np.arange(900) % 3
    centres = np.array([[0.0, 2.0], [-2.0, -1.0], [2.0, -1.0]])
    return np.clip(centres[y] + rng.normal(size=(900, 2)) * 0.6, -4, 4), y
