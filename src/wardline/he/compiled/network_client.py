"""Networks at the client."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from wardline.he.ciphertext import Ciphertext, SeededColumns
from wardline.he.network.plan import NetworkPlan
from wardline.he.network.rows import decrypt_outputs, encrypt_rows, unsafe_raw_outputs
from wardline.he.network.stages import Floats
from wardline.he.ranges import OutOfRange
from wardline.he.seal.lattice import Lattice


class NetworkClient:
    """See `wardline.he.compiled.kinds.ClientKind`."""

    def encrypt(
        self, lattice: Lattice, plan: NetworkPlan, rows: Floats, *, out_of_range: OutOfRange
    ) -> Iterator[SeededColumns]:
        """As `wardline.he.network.rows.encrypt_rows`."""
        return encrypt_rows(lattice, plan, rows, out_of_range=out_of_range)

    def decrypt(
        self, lattice: Lattice, plan: NetworkPlan, replies: Sequence[Sequence[Ciphertext]], *, rows: int
    ) -> Floats:
        """As `wardline.he.network.rows.decrypt_outputs`."""
        return decrypt_outputs(lattice, plan, replies, rows=rows)

    def unsafe_raw(
        self, lattice: Lattice, plan: NetworkPlan, replies: Sequence[Sequence[Ciphertext]], *, rows: int
    ) -> Floats:
        """As `wardline.he.network.rows.unsafe_raw_outputs`."""
        return unsafe_raw_outputs(lattice, plan, replies, rows=rows)


CLIENT = NetworkClient()
