"""A synthetic table with what is promised about it."""

from __future__ import annotations

import html
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wardline.core import Claim

if TYPE_CHECKING:
    import pyarrow as pa

    from wardline.dp.synthetic.model import MarginalModel

_SHOWN = 10


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Synthetic:
    """Rows that nobody lived: drawn from noisy marginals of a real table. All of it may be published.

    Attributes:
        table: the rows, with the columns that the contract uses.
        claim: what is promised to those in the real table.
        model: the noisy marginals and the distribution fitted to them; None if the table was read from a file.
        about: the method and its settings.
        release_id: stands for it in the ledger; None if nothing was charged or it was read from a file. It is derived
            from the real rows and never saved: whoever knows all rows but one could test guesses about it.
    """

    table: pa.Table = field(repr=False)
    claim: Claim
    model: MarginalModel | None = field(repr=False)
    about: Mapping[str, Any] = field(repr=False)
    release_id: str | None = field(default=None, repr=False)

    def save(self, path: Path) -> str:
        """Write the table with its claim.

        A ``.parquet`` file carries the claim in its metadata; beside a ``.csv`` file stands ``NAME.claim.json``. Either
        is written whole or not at all.

        Returns:
            The digest that a ledger seals: of the Parquet file, or of the CSV file's claim, which holds the table's.

        Raises:
            UsageError: for another ending.
            WorkspaceError: if it cannot be written.
        """
        from wardline.dp.synthetic.files import save

        return save(self, path)

    def __str__(self) -> str:
        columns = self.table.num_columns
        return f"synthetic table: {self.table.num_rows:,} rows, {columns} columns, {self.about['method']}; {self.claim}"

    def _repr_html_(self) -> str:
        head = self.table.slice(0, _SHOWN).to_pylist()
        names = "".join(f"<th>{html.escape(name)}</th>" for name in self.table.column_names)
        rows = "".join(
            "<tr>" + "".join(f"<td>{html.escape('' if v is None else str(v))}</td>" for v in row.values()) + "</tr>"
            for row in head
        )
        return f"<p>{html.escape(str(self))}</p><table><tr>{names}</tr>{rows}</table>"
