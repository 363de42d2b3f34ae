"""Optional libraries: imported when they are needed, and missed with a remedy."""

from __future__ import annotations

import importlib
from typing import Any

from wardline.core.errors import MissingExtraError


def need(module: str, *, extra: str) -> Any:
    """Import a module that is, or leans on, an optional library.

    Args:
        module: its full name; one of ours may be named too, and then whatever it leans on is what is missed.
        extra: the extra of the package that brings it.

    Raises:
        MissingExtraError: naming the extra to install, if it is missing.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        missing = (error.name or module).partition(".")[0]
        if missing == __name__.partition(".")[0]:
            raise  # a mistake of ours, which no installation mends
        raise MissingExtraError(
            f"this needs {missing}, which is not installed", hint=f"pip install 'wardline[{extra}]'"
        ) from error
