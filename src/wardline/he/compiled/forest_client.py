"""Forests at the client."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from wardline.he.ciphertext import Ciphertext, SeededColumns
from wardline.he.forest.plan import ForestPlan
from wardline.he.forest.rows import decrypt_outputs, encrypt_rows, unsafe_raw_outputs
from wardline.he.forest.trees import Floats
from wardline.he.ranges import OutOfRange
from wardline.he.seal.lattice import Lattice


class ForestClient:
    """See `wardline.he.compiled.kinds.ClientKind`."""

    def encrypt(
        self, lattice: Lattice, plan: ForestPlan, rows: Floats, *, out_of_range: OutOfRange
    ) -> Iterator[SeededColumns]:
        """As `wardline.he.forest.rows.encrypt_rows`."""
        return encrypt_rows(lattice, plan, rows, out_of_range=out_of_range)

    def decrypt(
        self, lattice: Lattice, plan: ForestPlan, replies: Sequence[Sequence[Ciphertext]], *, rows: int
    ) -> Floats:
        """As `wardline.he.forest.rows.decrypt_outputs`."""
        return decrypt_outputs(lattice, plan, replies, rows=rows)

    def unsafe_raw(
        self, lattice: Lattice, plan: ForestPlan, replies: Sequence[Sequence[Ciphertext]], *, rows: int
    ) -> Floats:
        """As `wardline.he.forest.rows.unsafe_raw_outputs`."""
        return unsafe_raw_outputs(lattice, plan, replies, rows=rows)


CLIENT = ForestClient()
