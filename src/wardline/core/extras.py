"""Optional libraries: imported when they are needed, and missed with a remedy."""

from __future__ import annotations

import importlib
from typing import Any

from wardline.core.errors import MissingExtraError


def need(module: str, *, extra: str) -> Any:
    """Import a module of an optional library.

    Args:
        module: its full name.
        extra: the extra of the package that brings it.

    Raises:
        MissingExtraError: naming the extra to install, if it is missing.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingExtraError(
            f"this needs {module.partition('.')[0]}, which is not installed", hint=f"pip install 'wardline[{extra}]'"
        ) from error
