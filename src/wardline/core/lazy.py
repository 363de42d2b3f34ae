"""Names of a package that are imported when they are first used."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from wardline.core.extras import need


def lazy(package: str, homes: Mapping[str, Sequence[str]], *, extra: str | None = None) -> Callable[[str], Any]:
    """A module-level ``__getattr__`` (PEP 562), so that importing a room does not import what it leans on.

    Rooms import the same names under ``TYPE_CHECKING`` as well; type checkers see only those.

    Args:
        package: full name of the package, its ``__name__``.
        homes: for each of its modules, the names that it offers.
        extra: the extra that brings what these modules lean on; None if they need no extra.
    """
    modules = {name: f"{package}.{module}" for module, names in homes.items() for name in names}

    def attribute(name: str) -> Any:
        if name not in modules:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        module = importlib.import_module(modules[name]) if extra is None else need(modules[name], extra=extra)
        return getattr(module, name)

    return attribute
