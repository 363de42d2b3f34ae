"""The published table with all that a reader needs to know about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wardline.core.claims import Claim

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Release:
    """A table that was made under differential privacy. It holds nothing that may not be shown.

    Attributes:
        table: key columns, then for each figure four: its value, and behind its label ``_noise`` (the standard
            deviation of the noise in it), ``_low`` and ``_high`` (a 95 % interval). A figure that the noise drowns is
            null; its interval is then the whole range.
        claim: what is guaranteed, against whom, under which assumptions.
        about: how it came about, as plain JSON: ``query``, ``keys`` and ``figures`` (the columns), ``noise`` (of each
            measure), ``ranges`` that were found privately and ``limits`` (what the figures do not tell).
    """

    table: pa.Table
    claim: Claim
    about: Mapping[str, Any] = field(repr=False)

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels of the figures."""
        return tuple(self.about["figures"])

    @property
    def keys(self) -> tuple[str, ...]:
        """The columns that tell what a row is about."""
        return tuple(self.about["keys"])

    def plot(self, path: Path, *, label: str | None = None) -> Path:
        """Draw a figure as a self-contained SVG: a map for two keys of cells, else rows or a curve with error bars.

        Args:
            path: where to write; its folder is made if it is missing.
            label: which figure; by default the first one.

        Returns:
            The path.

        Raises:
            WorkspaceError: if it cannot be written.
            ValueError: for a label that the release does not have.
        """
        from wardline.core.drawing.page import standalone
        from wardline.core.files import write_atomic
        from wardline.dp.releases.picture import picture

        write_atomic(path, standalone(picture(self, label=label)))
        return path

    def save(self, path: Path) -> str:
        """Write the table with its claim, whole or not at all.

        Args:
            path: ends in ``.parquet`` (the claim is in its metadata) or ``.csv`` (beside a file ending in
                ``.claim.json``, which holds the digest of the table).

        Returns:
            SHA-256 of the Parquet file, or of the claim's file: what a ledger seals.

        Raises:
            WorkspaceError: if it cannot be written.
            UsageError: for another ending.
        """
        from wardline.dp.releases.files import save

        return save(self, path)

    def __str__(self) -> str:
        from wardline.dp.releases.show import as_text

        return as_text(self)

    def _repr_html_(self) -> str:
        from wardline.dp.releases.show import as_html

        return as_html(self)
