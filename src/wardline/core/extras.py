"""Optional libraries: imported when needed, and missed with a remedy."""

from __future__ import annotations

import importlib
from types import ModuleType

from wardline.core.errors import MissingExtraError

EXTRAS: dict[str, tuple[str, ...]] = {
    "data": ("pyarrow", "duckdb", "pandera"),
    "torch": ("torch", "safetensors", "sklearn", "scipy"),
    "dp": ("dp_accounting", "torch", "scipy"),
}
"""Which modules each extra brings. Extras whose room is not built yet are only named in pyproject.toml."""


def need(extra: str) -> tuple[ModuleType, ...]:
    """Import the modules of an extra.

    Raises:
        MissingExtraError: naming the extra to install, if one of them is missing.
    """
    modules = []
    for name in EXTRAS[extra]:
        try:
            modules.append(importlib.import_module(name))
        except ImportError as error:
            raise MissingExtraError(
                f"this needs {name}, which is not installed", hint=f"pip install 'wardline[{extra}]'"
            ) from error
    return tuple(modules)
