"""Wardline: policy in, evidence out.

`import wardline` is light. Its public names are imported when they are first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from wardline._version import __version__

if TYPE_CHECKING:
    from wardline.models import load

__all__ = ["__version__", "load"]


def __getattr__(name: str) -> Any:
    if name == "load":
        from wardline.models import load

        return load
    raise AttributeError(f"module 'wardline' has no attribute {name!r}")
