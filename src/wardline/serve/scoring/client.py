"""What a branch or a phone runs: rows in, scores out, and nobody else sees either."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from wardline.core.progress import NoProgress, Progress
from wardline.he.ciphertext import Ciphertext, SeededKeys
from wardline.he.compiled.kinds import Floats
from wardline.he.seal.belonging import belong
from wardline.he.seal.lattice import Lattice
from wardline.serve.scoring.connection import ScoringConnection

_BATCHES = 16
"""Batches in one request, unless they are large: what is held in memory, and what is lost with an answer that is."""

_REQUEST_BYTES = 256 * 1024 * 1024
"""Beyond so many bytes a request holds one batch."""


class ScoringClient:
    """Encrypts, asks, decrypts and rounds.

    Args:
        connection: to the service.
        lattice: the secret key, of the model's parameters; it stays here.
        keys: the public keys that belong to it, if they were made before. The service keeps them by digest, so that
            keys from a file are uploaded once, and fresh ones once for each client object.
        progress: told after every request.

    Raises:
        ValueError: for keys of other parameters than the model's, or public keys of another secret one.

    Models of every kind are scored alike. A network's rows are charged by full batches and, of what is left, by the
    next power of two: see `PublicModel.charged`.

    Guarantee: the service sees ciphertexts of 128-bit security, the number of rows and when they came. It answers with
    what it likes: a malicious service can answer wrongly, and nothing here notices; do not tell it what its answers
    decrypted to. Scores are rounded to the plan's step and may be shown to others; `unsafe_raw` may not.
    """

    def __init__(
        self,
        connection: ScoringConnection,
        lattice: Lattice,
        *,
        keys: SeededKeys | None = None,
        progress: Progress | None = None,
    ) -> None:
        public = connection.public
        if lattice.parameters != public.plan.parameters:
            raise ValueError("the key was made for other parameters than the model's")
        if keys is not None and not belong(keys, lattice):
            raise ValueError("the public keys were made from another secret key")
        self._connection = connection
        self._lattice = lattice
        self._keys = keys or public.kind.make_keys(lattice, public.plan)
        self._progress = progress or NoProgress()

    @property
    def keys(self) -> SeededKeys:
        """The public keys that the service computes with."""
        return self._keys

    def outside(self, rows: Floats) -> int:
        """How many rows have a feature outside of the range that the model was compiled for."""
        return self._connection.public.outside(rows)

    def score(self, rows: npt.NDArray[np.floating]) -> Floats:
        """Rounded scores, [rows, outputs].

        Args:
            rows: [rows, features], at least one, finite, in the order of the model's features.

        Raises:
            DataError: for rows that cannot be scored, or are out of range where the model's policy is to refuse them;
                nothing was sent then.
            ServiceError, BudgetError, IntegrityError: as of `ScoringConnection.exchange`.
        """
        values = np.asarray(rows, dtype=np.float64)
        replies, public = self._replies(values), self._connection.public
        return public.kind.client.decrypt_outputs(self._lattice, public.plan, replies, rows=len(values))

    def unsafe_raw_scores(self, rows: npt.NDArray[np.floating]) -> Floats:
        """Scores with their noise, for the owner of the key alone.

        Their noise depends on the secret key. Whoever else sees enough of them beside the ciphertexts may find it out
        (Li and Micciancio 2021).
        """
        values = np.asarray(rows, dtype=np.float64)
        replies, public = self._replies(values), self._connection.public
        return public.kind.client.unsafe_raw_outputs(self._lattice, public.plan, replies, rows=len(values))

    def decide(self, rows: npt.NDArray[np.floating]) -> npt.NDArray[np.int64]:
        """The index of each row's class, from rounded scores.

        Raises:
            ValueError: if the model decides nothing; and as `score`.
        """
        return self._connection.public.meaning.decide(self.score(rows))

    def _replies(self, rows: Floats) -> Sequence[Sequence[Ciphertext]]:
        public = self._connection.public
        plan = public.plan
        # Looks at all rows before the first is encrypted.
        batches = public.kind.client.encrypt_rows(self._lattice, plan, rows, out_of_range=public.out_of_range)
        at_once = plan.rows * max(1, min(_BATCHES, _REQUEST_BYTES // plan.upload_bytes))
        replies: list[list[Ciphertext]] = []
        self._progress.start("score", total=len(rows))
        for start in range(0, len(rows), at_once):
            count = min(at_once, len(rows) - start)
            columns = [next(batches) for _ in range(public.batches(count))]
            replies += self._connection.exchange(columns, self._keys, rows=count)
            self._progress.advance(start + count)
        self._progress.finish(f"{len(rows)} rows")
        return replies
