"""Servers that tests and benchmarks start for themselves: a PostgreSQL from the distribution, on loopback only."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

BINARIES = Path("/usr/lib/postgresql")
_USER = "wardline"
_PATIENCE_SECONDS = 60


def postgres_binaries() -> Path | None:
    """The folder with the newest installed server's programs, or None."""
    found = [path.parent for path in BINARIES.glob("*/bin/initdb")]
    return max(found, key=lambda path: int(path.parent.name), default=None)


@contextlib.contextmanager
def postgres_server(*, durable: bool = False) -> Iterator[str]:
    """A fresh server with an empty database; gone, with its data, when the context ends.

    Args:
        durable: whether it syncs to disk at every commit. Killing its clients loses nothing either way; only a power
            cut would. Benchmarks ask for it.

    Yields:
        ``postgresql://USER:PASSWORD@127.0.0.1:PORT/postgres``.

    Raises:
        RuntimeError: if it does not start, with what it said.
    """
    binaries = postgres_binaries()
    if binaries is None:
        raise RuntimeError("PostgreSQL is not installed")
    # Not pytest's own folder: that one is closed to other users, and the server refuses to run as root.
    folder = Path(tempfile.mkdtemp(prefix="wardline-postgres-"))
    identity = {"user": "postgres", "group": "postgres", "extra_groups": []} if os.geteuid() == 0 else {}
    if identity:
        shutil.chown(folder, "postgres", "postgres")
    password = os.urandom(16).hex()
    secret = folder / "password"
    secret.write_text(password)
    if identity:
        shutil.chown(secret, "postgres", "postgres")
    secret.chmod(0o600)
    data, log = folder / "data", folder / "log"

    def call(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            arguments, cwd=folder, capture_output=True, text=True, check=False, timeout=_PATIENCE_SECONDS, **identity
        )

    try:
        made = call(
            *(str(binaries / "initdb"), "-D", str(data), "-U", _USER, "-A", "scram-sha-256", "-E", "UTF8"),
            *("--locale=C", "--pwfile", str(secret), "--no-sync"),
        )
        if made.returncode != 0:
            raise RuntimeError(made.stderr)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        settings = {
            "port": port,
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": folder,
            "fsync": "on" if durable else "off",
            "max_connections": 60,
            "shared_buffers": "64MB",
        }
        command = [str(binaries / "postgres"), "-D", str(data)]
        command += [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        with log.open("w") as output:
            server = subprocess.Popen(command, cwd=folder, stdout=output, stderr=output, **identity)
        try:
            ready = [str(binaries / "pg_isready"), "-h", "127.0.0.1", "-p", str(port), "-U", _USER, "-d", "postgres"]
            until = time.monotonic() + _PATIENCE_SECONDS
            while call(*ready).returncode != 0:
                if server.poll() is not None or time.monotonic() > until:
                    raise RuntimeError(log.read_text())
                time.sleep(0.05)
            yield f"postgresql://{_USER}:{password}@127.0.0.1:{port}/postgres"
        finally:
            server.send_signal(signal.SIGINT)  # ends the sessions of clients that are still there
            server.wait(_PATIENCE_SECONDS)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """The URL of a PostgreSQL server with an empty database; the test is skipped where none is installed."""
    if postgres_binaries() is None:
        pytest.skip(f"PostgreSQL is not installed below {BINARIES}")
    with postgres_server() as url:
        yield url


@pytest.fixture(scope="session")
def spark_session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[object]:
    """A local Spark with one thread; the test is skipped without Java."""
    if shutil.which("java") is None:
        pytest.skip("Java is not installed")
    os.environ["PYSPARK_PYTHON"] = os.environ["PYSPARK_DRIVER_PYTHON"] = sys.executable
    from pyspark.sql import SparkSession

    folder = tmp_path_factory.mktemp("spark")
    spark = (
        SparkSession.builder.master("local[1]")
        .config("spark.ui.enabled", "false")
        .config("spark.driver.bindAddress", "127.0.0.1")
        .config("spark.driver.host", "127.0.0.1")
        .config("spark.driver.memory", "1g")
        .config("spark.sql.shuffle.partitions", "2")
        # Compiling Java for each of many small statements would take longer than running them.
        .config("spark.sql.codegen.wholeStage", "false")
        .config("spark.sql.codegen.factoryMode", "NO_CODEGEN")
        .config("spark.sql.adaptive.enabled", "false")
        .config("spark.sql.warehouse.dir", str(folder / "warehouse"))
        .config("spark.local.dir", str(folder / "local"))
        .getOrCreate()
    )
    spark.sparkContext.setLogLevel("FATAL")
    yield spark
    spark.stop()
