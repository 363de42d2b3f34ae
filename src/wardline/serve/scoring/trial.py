"""The service as a process of its own on this machine, with certificates of its own: for trials, recipes and tests."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from wardline.core.errors import ServiceError
from wardline.serve.scoring.certificates import TlsFiles, make_development_certificates
from wardline.serve.scoring.connection import ScoringConnection


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialService:
    """A service that runs.

    Attributes:
        port: where it listens.
        metrics_port: where its metrics are, on the loopback interface.
        model: digest of its public model, 64 hexadecimal digits.
        folder: with its certificates, its account of rows and its log.
        process: its number.
    """

    port: int
    metrics_port: int
    model: str
    folder: Path
    process: int

    def connect(self, client: str, *, seconds: float = 60.0) -> ScoringConnection:
        """A connection of one of its clients."""
        tls = tls_of(self.folder / "tls", client)
        return ScoringConnection(f"localhost:{self.port}", tls=tls, model=self.model, seconds=seconds)


def tls_of(folder: Path, name: str) -> TlsFiles:
    """The files of one end among development certificates."""
    return TlsFiles(authority=folder / "authority.pem", certificate=folder / f"{name}.pem", key=folder / f"{name}.key")


@contextlib.contextmanager
def trial_service(
    model: Path, folder: Path, *, rows: int, clients: Sequence[str] = ("client",), options: Sequence[str] = ()
) -> Iterator[TrialService]:
    """Serve a compiled model over gRPC with mutual TLS in a process of its own until the block ends.

    Args:
        model: folder that the model was written to.
        folder: for certificates (30 days), the account of rows and the log of calls; made if it is missing.
        rows: that each client may have.
        clients: their names.
        options: further ones of `wardline he serve`.

    Raises:
        ServiceError: if the service does not come up; its own error stands in the log.
    """
    make_development_certificates(folder / "tls", clients=tuple(clients))
    own = tls_of(folder / "tls", "server")
    command = [
        *(sys.executable, "-m", "wardline", "he", "serve", str(model), "--address", "127.0.0.1:0"),
        *("--authority", str(own.authority), "--certificate", str(own.certificate), "--tls-key", str(own.key)),
        *("--account", str(folder / "rows.sqlite"), "--rows", str(rows), "--metrics-port", "0", *options),
    ]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)  # noqa: S603 (our own)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise ServiceError("the service did not come up", where=str(folder / "log"), hint="read its log")
        told = json.loads(line)
        yield TrialService(
            port=told["port"],
            metrics_port=told["metrics_port"],
            model=told["model"],
            folder=folder,
            process=process.pid,
        )
    finally:
        process.terminate()
        process.wait()
