"""Linear models at the client."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from wardline.he.ciphertext import Ciphertext, SeededColumns
from wardline.he.linear.plan import Floats, LinearPlan
from wardline.he.linear.rows import decrypt_scores, encrypt_rows, unsafe_raw_scores
from wardline.he.ranges import OutOfRange
from wardline.he.seal.lattice import Lattice


class LinearClient:
    """See `wardline.he.compiled.kinds.ClientKind`."""

    def encrypt(
        self, lattice: Lattice, plan: LinearPlan, rows: Floats, *, out_of_range: OutOfRange
    ) -> Iterator[SeededColumns]:
        """As `wardline.he.linear.rows.encrypt_rows`."""
        return encrypt_rows(lattice, plan, rows, out_of_range=out_of_range)

    def decrypt(
        self, lattice: Lattice, plan: LinearPlan, replies: Sequence[Sequence[Ciphertext]], *, rows: int
    ) -> Floats:
        """As `wardline.he.linear.rows.decrypt_scores`."""
        return decrypt_scores(lattice, plan, replies, rows=rows)

    def unsafe_raw(
        self, lattice: Lattice, plan: LinearPlan, replies: Sequence[Sequence[Ciphertext]], *, rows: int
    ) -> Floats:
        """As `wardline.he.linear.rows.unsafe_raw_scores`."""
        return unsafe_raw_scores(lattice, plan, replies, rows=rows)


CLIENT = LinearClient()
