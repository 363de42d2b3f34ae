"""Seconds and bytes that a plan will take for some rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from wardline.he.cost.speeds import Speeds
from wardline.he.cost.work import reply_limbs, steps_of, upload_limbs

if TYPE_CHECKING:
    from wardline.he.cost.client import ClientSpeeds
    from wardline.he.cost.work import Plan


@dataclass(frozen=True, slots=True, kw_only=True)
class Predicted:
    """What rows cost under one plan.

    Attributes:
        rows: how many.
        batches: that they fill; a batch that is not full takes as long as a full one.
        server: seconds for all of them.
        layers: seconds of one batch for each layer by its name, and for making the answer ready to leave.
        encrypt, decrypt: seconds of the client; None where its speeds were not given.
        upload_bytes, reply_bytes: of all of them, packed, without the heads of frames.
    """

    rows: int
    batches: int
    server: float
    layers: tuple[tuple[str, float], ...]
    encrypt: float | None
    decrypt: float | None
    upload_bytes: int
    reply_bytes: int

    @property
    def whole(self) -> float:
        """Seconds of server and client, one after the other.

        Raises:
            ValueError: if the client's are not known.
        """
        if self.encrypt is None or self.decrypt is None:
            raise ValueError("the client's speeds were not given")
        return self.server + self.encrypt + self.decrypt

    @property
    def latency(self) -> float:
        """Seconds of the server for one batch."""
        return self.server / self.batches

    def explain(self) -> str:
        """In words and figures."""
        batches = "one batch" if self.batches == 1 else f"{self.batches} batches"
        first = f"predicted for {'one row' if self.rows == 1 else f'{self.rows} rows'} in {batches}: "
        each = ", ".join(f"{name} {_time(one)}" for name, one in self.layers)
        parts = [f"server {_time(self.server)}, {_time(self.server / self.rows)} a row (a batch: {each})"]
        if self.encrypt is not None and self.decrypt is not None:
            parts.append(f"encryption {_time(self.encrypt)}, decryption {_time(self.decrypt)}")
        parts.append(f"upload {_size(self.upload_bytes)}, reply {_size(self.reply_bytes)}")
        return first + "; ".join(parts)


def seconds(
    plan: Plan,
    speeds: Speeds,
    *,
    rows: int,
    threads: int = 1,
    secret: object = None,
    client: ClientSpeeds | None = None,
) -> Predicted:
    """What rows will cost.

    Args:
        plan: of a linear model, a network on batch columns, or one on diagonals.
        speeds: the server's, see `speeds.measure_speeds`.
        rows: at least 1.
        threads: of the server, each with a processor of its own.
        secret: a network's integers, if they are there; without them its first layer is taken for a dense one, see
            `work.steps_of`.
        client: the client's, see `client.measure_client_speeds`.

    Raises:
        ValueError: for no rows or no thread.
        TypeError: for a plan of another kind.

    Guarantee: none. Where it was measured (AMD EPYC with AVX-512, other work beside), servers took 0.9 to 1.4 times
    what was predicted, for linear models, networks on columns and networks on diagonals.
    """
    if rows < 1 or threads < 1:
        raise ValueError("rows and threads must be at least 1")
    batches = -(-rows // plan.rows)
    degree = plan.parameters.degree
    layers = tuple((name, speeds.of(work, degree, threads=threads)) for name, work in steps_of(plan, secret=secret))
    encrypt = decrypt = None
    if client is not None:
        columns, limbs = upload_limbs(plan)
        encrypt = batches * columns * limbs * degree * client.encrypted
        outputs, left = reply_limbs(plan)
        decrypt = batches * outputs * (left + 1) * degree * client.decrypted
    return Predicted(
        rows=rows,
        batches=batches,
        server=batches * sum(one for _, one in layers),
        layers=layers,
        encrypt=encrypt,
        decrypt=decrypt,
        upload_bytes=batches * plan.upload_bytes,
        reply_bytes=batches * plan.reply_bytes,
    )


def _time(value: float) -> str:
    return f"{value:.3g} s" if value >= 1 else f"{1e3 * value:.3g} ms"


def _size(value: int) -> str:
    return f"{value / 2**20:.3g} MiB" if value >= 1 << 20 else f"{value / 2**10:.3g} KiB"
