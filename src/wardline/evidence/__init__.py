"""Room `evidence`: the signed bundle, its verification, and the report.

Verifying needs only the base dependencies, and nothing of the report is imported for it: the names
below are loaded when they are first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wardline.evidence.bundle import build_bundle, unsafe_write_unsigned_bundle, write_bundle
    from wardline.evidence.report import render_report
    from wardline.evidence.verify import VerifiedBundle, verify_bundle

__all__ = [
    "VerifiedBundle",
    "build_bundle",
    "render_report",
    "unsafe_write_unsigned_bundle",
    "verify_bundle",
    "write_bundle",
]

_HOMES = {
    "VerifiedBundle": "verify",
    "build_bundle": "bundle",
    "render_report": "report",
    "unsafe_write_unsigned_bundle": "bundle",
    "verify_bundle": "verify",
    "write_bundle": "bundle",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'wardline.evidence' has no attribute {name!r}")
    return getattr(importlib.import_module(f"wardline.evidence.{_HOMES[name]}"), name)
