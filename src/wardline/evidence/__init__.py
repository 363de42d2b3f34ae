"""Room `evidence`: the signed bundle, its verification, and the report.

Verifying needs only the base dependencies, and nothing of the report is imported for it: the names
below are loaded when they are first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from wardline.core.lazy import lazy

if TYPE_CHECKING:
    from wardline.evidence.audit_report import render_audit
    from wardline.evidence.bundle import build_bundle, unsafe_write_unsigned_bundle, write_bundle
    from wardline.evidence.report import render_report
    from wardline.evidence.verify import VerifiedBundle, verify_bundle

__all__ = [
    "VerifiedBundle",
    "build_bundle",
    "render_audit",
    "render_report",
    "unsafe_write_unsigned_bundle",
    "verify_bundle",
    "write_bundle",
]

__getattr__ = lazy(
    __name__,
    {
        "audit_report": ("render_audit",),
        "bundle": (
            "build_bundle",
            "unsafe_write_unsigned_bundle",
            "write_bundle",
        ),
        "report": ("render_report",),
        "verify": (
            "VerifiedBundle",
            "verify_bundle",
        ),
    },
)
