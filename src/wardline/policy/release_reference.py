"""The reference page of the file of a release, made from the schema."""

from __future__ import annotations

from wardline.policy.reference import section
from wardline.policy.release_loader import RELEASE

EXAMPLE = """\
schema: 1
name: wait-by-ward
purpose: How long people wait in each ward.
table: {source: "file:visits.parquet"}
unit: {column: patient, rows: 8}
by:
  - {column: ward, values: [north, south, west]}
aggregates:
  - {kind: count}
  - {kind: mean, column: minutes, lower: 0, upper: 240, label: wait}
epsilon: 1
limit: {epsilon: 8, delta: 1e-6}
"""

_INTRODUCTION = """\
<!-- Made from the schema by wardline.policy.release_reference; do not edit. -->

# The file of a release

What `wardline release` reads; see [Release a table](../howto/release-a-table.md). The rules for YAML, and what is
refused, are those of [the policy file](policy.md). A whole file:

"""


def release_markdown() -> str:
    """The reference page `docs/reference/release.md`."""
    parts = [_INTRODUCTION, f"```yaml\n{EXAMPLE}```\n"]
    headings: set[str] = set()
    for location, model in RELEASE.places.items():
        parts.append("\n" + "\n".join(section(location, model, headings)) + "\n")
    return "".join(parts)
