"""A connection over a line that breaks: what is tried again costs rows once, and what was lost is said to be lost."""

from __future__ import annotations

import contextlib
import io
import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest

from wardline.core import DataError, ServiceError, UsageError
from wardline.he.compiled.compiling import compile_model
from wardline.he.compiler.layers import Affine
from wardline.he.compiler.program import Meaning, Program
from wardline.he.seal.bridge import SealLattice
from wardline.serve.scoring.admission import ServiceLimits
from wardline.serve.scoring.certificates import make_development_certificates
from wardline.serve.scoring.client import ScoringClient
from wardline.serve.scoring.connection import ScoringConnection
from wardline.serve.scoring.messages import REASON_KEY
from wardline.serve.scoring.meter import RowMeter
from wardline.serve.scoring.refusals import Reason
from wardline.serve.scoring.server import EventLog, ScoringServer
from wardline.serve.scoring.service import Allowance, Scoring
from wardline.serve.scoring.trial import tls_of


class Line:
    """Carries bytes to a port and back; cuts a connection when so many bytes have gone one way since it was told to."""

    def __init__(self, port: int) -> None:
        self._to = port
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        self._cut: tuple[str, int] | None = None
        self.cuts = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self, way: str, *, after: int) -> None:
        """Cut once, after so many bytes upwards or downwards."""
        self._cut = (way, after)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listening.accept()
                far = socket.create_connection(("127.0.0.1", self._to))
                for way, source, target in (("up", near, far), ("down", far, near)):
                    threading.Thread(target=self._carry, args=(way, source, target), daemon=True).start()

    def _carry(self, way: str, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(4096):
                if self._cut is not None and self._cut[0] == way:
                    self._cut = (way, self._cut[1] - len(data))
                    if self._cut[1] <= 0:
                        self._cut = None
                        self.cuts += 1
                        break
                target.sendall(data)
        for one in (source, target):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._listening.close()


@pytest.fixture
def broken(tmp_path: Path) -> Iterator[tuple[Line, ScoringClient, Scoring, np.ndarray, io.StringIO]]:
    rows = np.random.default_rng(0).uniform(-1, 1, (300, 2))
    layer = Affine(weights=np.array([[1.0, -2.0]]), offset=np.zeros(1))
    program = Program(input_shape=(2,), layers=(layer,), meaning=Meaning(gives="values"))
    compiled = compile_model(program, rows)
    make_development_certificates(tmp_path, clients=("alice",))
    tls = {name: tls_of(tmp_path, name) for name in ("server", "alice")}
    log = io.StringIO()
    scoring = Scoring(compiled.evaluator, RowMeter(tmp_path / "rows.sqlite"), allowance=Allowance(rows=1000))
    scoring.warm_up()
    server = ScoringServer(scoring, "127.0.0.1:0", tls=tls["server"], log=EventLog(log))
    line = Line(server.port)
    with ScoringConnection(f"localhost:{line.port}", tls=tls["alice"], seconds=30) as connection:
        client = ScoringClient(connection, SealLattice.generate(compiled.public.plan.parameters))
        client.score(rows[:1])
        yield line, client, scoring, rows, log
    line.close()
    server.stop(grace_seconds=0)


def outcomes(log: io.StringIO) -> list[str]:
    lines = [json.loads(line) for line in log.getvalue().splitlines()]
    return [line["outcome"] for line in lines if line["method"] == "Score"]


def charged(scoring: Scoring) -> str:
    return next(line for line in scoring.metrics.text().splitlines() if line.startswith("wardline_rows_total{"))


def test_a_request_that_was_cut_short_is_sent_again_and_charged_once(broken) -> None:
    line, client, scoring, rows, log = broken
    line.cut("up", after=20_000)  # of about 77,000 bytes
    scores = client.score(rows)
    assert np.abs(scores[:, 0] - rows @ (1.0, -2.0)).max() < 0.1
    assert charged(scoring) == 'wardline_rows_total{client="alice"} 301'
    assert line.cuts == 1
    assert outcomes(log)[-1] == "ok"
    assert not any(one.startswith("internal") for one in outcomes(log)), outcomes(log)


def test_an_answer_that_was_lost_is_said_to_be_lost_and_charged_once(broken) -> None:
    line, client, scoring, rows, log = broken
    line.cut("down", after=20_000)  # of about 26,000 bytes
    with pytest.raises(ServiceError, match="charged before") as caught:
        client.score(rows)
    assert "lost" in caught.value.hint
    assert line.cuts == 1
    assert outcomes(log)[-1] == "replay"
    assert not any(one.startswith("internal") for one in outcomes(log)), outcomes(log)
    assert charged(scoring) == 'wardline_rows_total{client="alice"} 301'
    client.score(rows[:9])
    assert charged(scoring) == 'wardline_rows_total{client="alice"} 310', "the connection goes on"


def test_what_is_not_finite_or_empty_is_refused_before_anything_is_sent(broken) -> None:
    _, client, scoring, _, log = broken
    before = outcomes(log)
    for wrong in (np.empty((0, 2)), np.full((1, 2), np.nan), np.zeros((1, 3))):
        with pytest.raises(DataError, match=r"rows|finite|features"):
            client.score(wrong)
    assert outcomes(log) == before
    assert charged(scoring) == 'wardline_rows_total{client="alice"} 1'


def test_a_busy_service_is_waited_for(tmp_path: Path) -> None:
    """Its one place is taken, and given free at the sixth try; three are made where a service is away."""
    rows = np.random.default_rng(0).uniform(-1, 1, (300, 2))
    layer = Affine(weights=np.array([[1.0, -2.0]]), offset=np.zeros(1))
    compiled = compile_model(Program(input_shape=(2,), layers=(layer,), meaning=Meaning(gives="values")), rows)
    make_development_certificates(tmp_path, clients=("alice",))
    scoring = Scoring(
        compiled.evaluator,
        RowMeter(tmp_path / "rows.sqlite"),
        allowance=Allowance(rows=1000),
        limits=ServiceLimits(requests=1),
    )
    server = ScoringServer(scoring, "127.0.0.1:0", tls=tls_of(tmp_path, "server"))
    taken = server._admission.work("bob")
    pauses: list[float] = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 5:
            taken.__exit__(None, None, None)

    with ScoringConnection(
        f"localhost:{server.port}", tls=tls_of(tmp_path, "alice"), seconds=30, pause=pause
    ) as connection:
        client = ScoringClient(connection, SealLattice.generate(compiled.public.plan.parameters))
        taken.__enter__()
        assert np.abs(client.score(rows[:9])[:, 0] - rows[:9] @ (1.0, -2.0)).max() < 0.1
        assert pauses == [0.2, 0.8, 3.2, 5.0, 5.0]
    server.stop(grace_seconds=0)


def test_a_model_too_large_for_the_memory_is_refused(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).uniform(-1, 1, (300, 2))
    layer = Affine(weights=np.array([[1.0, -2.0]]), offset=np.zeros(1))
    compiled = compile_model(Program(input_shape=(2,), layers=(layer,), meaning=Meaning(gives="values")), rows)
    meter = RowMeter(tmp_path / "rows.sqlite")
    some = ServiceLimits(memory_bytes=4 * 1024 * 1024)
    assert 1 <= Scoring(compiled.evaluator, meter, allowance=Allowance(rows=1), limits=some).places < some.requests
    with pytest.raises(UsageError, match="GiB of memory"):
        Scoring(compiled.evaluator, meter, allowance=Allowance(rows=1), limits=ServiceLimits(memory_bytes=1000))


class Busy(grpc.RpcError):
    def trailing_metadata(self):
        return ((REASON_KEY, Reason.BUSY.value),)


def test_a_long_wait_has_pauses_of_seconds_to_its_end() -> None:
    pauses: list[float] = []
    connection = object.__new__(ScoringConnection)
    connection._seconds, connection._retries, connection._pause = 3600.0, 2, pauses.append

    def attempt() -> str:
        if len(pauses) < 600:
            raise Busy
        return "answer"

    assert connection._patiently(attempt) == "answer"
    assert pauses[0] == 0.2
    assert pauses[-1] == 5.0
