"""Tables released under differential privacy: planned, charged, computed, and published with their claim."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wardline.core.lazy import lazy

if TYPE_CHECKING:
    from wardline.dp.releases.describe import Expected, describe_plan, expected
    from wardline.dp.releases.files import read_release
    from wardline.dp.releases.plan import ReleasePlan, plan_release
    from wardline.dp.releases.releasing import release, release_planned
    from wardline.dp.releases.value import Release

__all__ = [
    "Expected",
    "Release",
    "ReleasePlan",
    "describe_plan",
    "expected",
    "plan_release",
    "read_release",
    "release",
    "release_planned",
]

__getattr__ = lazy(
    __name__,
    {
        "describe": ("Expected", "describe_plan", "expected"),
        "files": ("read_release",),
        "plan": ("ReleasePlan", "plan_release"),
        "releasing": ("release", "release_planned"),
        "value": ("Release",),
    },
    extra="query",
)
