"""The room's optional libraries, imported when needed."""

from __future__ import annotations

from functools import partial

from wardline.core import need

module = partial(need, extra="data")
"""Import one module of the extra `data`, for example ``module("pyarrow.csv")``."""
