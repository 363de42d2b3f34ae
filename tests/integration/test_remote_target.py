"""Models behind an address: a real server on loopback that answers well, late, seldom, or with nonsense."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from wardline.attacks.protocol.examination import preflight, with_checks
from wardline.attacks.protocol.examples import Batch, Labelled, attack_examples
from wardline.attacks.protocol.opening import open_target
from wardline.attacks.protocol.result import Budget, Check, Threat
from wardline.attacks.protocol.spec import InputSpec, TextSpec
from wardline.attacks.protocol.target import Access, Target
from wardline.core import ServiceError, UsageError, Verdict
from wardline.evidence import render_audit
from wardline.evidence.audit_consistency import check_audit
from wardline.models.predictor import labels_of
from wardline.models.remote_exchange import RemoteSettings
from wardline.models.remote_predictor import RemotePredictor
from wardline.run.audit import audit
from wardline.run.audit_data import AuditData
from wardline.run.audit_settings import Audited, AuditSettings

RNG = np.random.default_rng(0)
Y = np.arange(120, dtype=np.int64) % 3
X = np.clip(np.eye(3)[Y] * 0.6 + 0.2 + RNG.normal(0, 0.05, (120, 3)), 0, 1).astype(np.float32)
MODEL = LogisticRegression(C=50).fit(X, Y)
PROBS = MODEL.predict_proba(X.astype(np.float64))
SPEC = InputSpec(shape=(3,))
PATIENT = RemoteSettings(batch=16, retries=2)
HASTY = RemoteSettings(timeout_seconds=0.5, batch=16, retries=1, patience=2)
SECRET = "s3cret-bearer"

Reply = tuple[int, dict[str, str], bytes]


class Server(ThreadingHTTPServer):
    """Answers requests as `reply` says, and remembers them."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.reply: Callable[[str, str, Any], Reply] = plain
        self.seen: list[tuple[str, str, Any]] = []
        self.authorizations: list[str | None] = []
        self.connections = 0
        self.over = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is part of the test."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Server

    def setup(self) -> None:
        self.server.connections += 1
        super().setup()

    def do_GET(self) -> None:
        self.answer(None)

    def do_POST(self) -> None:
        self.answer(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

    def answer(self, body: Any) -> None:
        self.server.seen.append((self.command, self.path, body))
        self.server.authorizations.append(self.headers["Authorization"])
        status, headers, content = self.server.reply(self.command, self.path, body)
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *args: Any) -> None:
        """Nothing: the test prints nothing."""


def ok(value: Any) -> Reply:
    return 200, {"Content-Type": "application/json"}, json.dumps(value).encode()


def probabilities(rows: Any) -> list[list[float]]:
    return MODEL.predict_proba(np.array(rows, dtype=np.float64).reshape(len(rows), -1)).tolist()


def plain(method: str, path: str, body: Any) -> Reply:
    return ok({"predictions": probabilities(body["instances"])})


def kserve(method: str, path: str, body: Any) -> Reply:
    if method == "GET":
        return ok(
            {
                "name": "flowers",
                "platform": "test",
                "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 3]}],
                "outputs": [
                    {"name": "label", "datatype": "INT64", "shape": [-1]},
                    {"name": "scores", "datatype": "FP32", "shape": [-1, 3]},
                ],
            }
        )
    tensor = body["inputs"][0]
    assert (tensor["name"], tensor["datatype"], tensor["shape"][1:]) == ("x", "FP32", [3])
    found = np.array(probabilities(np.reshape(tensor["data"], tensor["shape"])))
    label = {"name": "label", "datatype": "INT64", "shape": [len(found)], "data": found.argmax(axis=1).tolist()}
    scores = {"name": "scores", "datatype": "FP32", "shape": [*found.shape], "data": found.ravel().tolist()}
    return ok({"model_name": "flowers", "outputs": [label, scores]})


@pytest.fixture
def server() -> Iterator[Server]:
    one = Server()
    thread = threading.Thread(target=one.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield one
    one.over.set()
    one.shutdown()
    one.server_close()
    thread.join()


def connect(server: Server, path: str = "/predict", **options: Any) -> RemotePredictor:
    options = {"probes": X[:8], "settings": PATIENT, "sleep": lambda seconds: None, **options}
    return RemotePredictor.connect(server.url + path, **options)


@dataclass(frozen=True)
class Nothing:
    """An attack that changes nothing, which any sound model withstands."""

    id = "test.nothing"
    needs = Access.LABELS
    paper = "none"

    def threat(self, target):
        return Threat(goal="another class", access=target.access)

    def within(self, changed, original):
        return (changed == original).all(axis=1)

    def craft(self, target: Target, batch: Batch) -> tuple[Check, ...]:
        return ()


def verdict(predictor: RemotePredictor) -> Verdict:
    target, data = Target(predictor, SPEC), Labelled(x=X, y=Y)
    checks = preflight(target, data)
    return with_checks(attack_examples(Nothing(), target, data, budget=Budget(), seed=0), checks).verdict


def test_plain_json_answers_like_the_model_over_one_connection(server: Server) -> None:
    remote = connect(server)
    assert (remote.gives, remote.classes) == ("probabilities", 3)
    np.testing.assert_allclose(remote.answer(X), PROBS, rtol=1e-6)
    assert [len(body["instances"]) for _, _, body in server.seen] == [8, *[16] * 7, 8]
    assert server.connections == 1
    assert verdict(remote) is Verdict.PASS, "the control: a sound service may pass"
    remote.close()


def test_kserve_tells_its_shape_and_its_scores_are_preferred_to_its_labels(server: Server) -> None:
    server.reply = kserve
    target = open_target(f"{server.url}/v2/models/flowers", cap=500)
    assert target.spec.shape == (3,)
    assert target.access is Access.SCORES
    np.testing.assert_allclose(np.exp(target.scores(X)), PROBS, rtol=1e-5)
    assert {path for _, path, _ in server.seen} == {"/v2/models/flowers", "/v2/models/flowers/infer"}
    assert target.ledger.left() == 380


@pytest.mark.parametrize(
    ("answer", "gives"),
    [
        (lambda rows: {"predictions": np.argmax(probabilities(rows), axis=1).tolist()}, "labels"),
        (lambda rows: {"labels": np.argmax(probabilities(rows), axis=1).tolist()}, "labels"),
        (lambda rows: {"logits": np.log(probabilities(rows)).tolist()}, "logits"),
        (lambda rows: {"scores": probabilities(rows)}, "probabilities"),
        (lambda rows: {"outputs": probabilities(rows)}, "probabilities"),
        (lambda rows: probabilities(rows), "probabilities"),
    ],
    ids=["predictions of labels", "labels", "logits", "scores", "outputs", "a bare list"],
)
def test_common_forms_of_answers_are_understood(server: Server, answer: Any, gives: str) -> None:
    def reply(method: str, path: str, body: Any) -> Reply:
        return ok(answer(body["inputs"])) if "inputs" in body else (422, {}, b"{}")

    server.reply = reply
    remote = connect(server, classes=3)
    assert remote.gives == gives
    assert (labels_of(remote.answer(X), remote.gives) == PROBS.argmax(axis=1)).all()


def test_texts_are_sent_as_texts(server: Server) -> None:
    texts = np.array(["good", "bad", "good good"], dtype=object)

    def reply(method: str, path: str, body: Any) -> Reply:
        if path.startswith("/v2"):
            if method == "GET":
                return 404, {}, b""
            assert body["inputs"][0]["datatype"] == "BYTES"
            words = body["inputs"][0]["data"]
            return ok({"outputs": [{"name": "y", "shape": [len(words)], "data": ["good" in one for one in words]}]})
        return ok({"predictions": [int("good" in one) for one in body["instances"]]})

    server.reply = reply
    for path in ("/v2/models/mood/infer", "/predict"):
        target = open_target(server.url + path, spec=TextSpec(), classes=2)
        assert target.labels(texts).tolist() == [1, 0, 1]


def test_a_rate_limit_is_waited_for_and_recorded(server: Server) -> None:
    calls: list[int] = []

    def limited(method: str, path: str, body: Any) -> Reply:
        calls.append(len(body["instances"]))
        if len(calls) % 2 == 0:
            return 429, {"Retry-After": "7"}, b""
        return plain(method, path, body)

    waits: list[float] = []
    server.reply = limited
    remote = connect(server, sleep=waits.append)
    np.testing.assert_allclose(remote.answer(X), PROBS, rtol=1e-6)
    assert waits == [7.0] * 8
    assert (remote.statistics.refused, remote.statistics.retries, remote.statistics.unanswered) == (8, 8, 0)
    assert verdict(remote) is not Verdict.PASS, "what was refused on the way is told"


def test_a_service_that_asks_for_a_long_wait_is_not_waited_for(server: Server) -> None:
    waits: list[float] = []
    remote = connect(server, sleep=waits.append)
    server.reply = lambda method, path, body: (503, {"Retry-After": "86400"}, b"")
    assert np.isnan(remote.answer(X[:16])).all()
    assert waits == []
    assert remote.statistics.unanswered == 16


def test_inputs_that_stay_unanswered_are_never_counted_as_robust(server: Server) -> None:
    remote = connect(server)

    def sometimes(method: str, path: str, body: Any) -> Reply:
        # The first row of each batch decides: such batches are refused however often they are sent.
        return (503, {}, b"") if body["instances"][0][0] > 0.75 else plain(method, path, body)

    server.reply = sometimes
    answers = remote.answer(X)
    silent = np.isnan(answers).all(axis=1)
    assert 0 < silent.sum() < len(X)
    assert remote.statistics.unanswered == silent.sum()
    target = Target(remote, SPEC)
    result = attack_examples(Nothing(), target, Labelled(x=X, y=Y), budget=Budget(batch=120), seed=0)
    assert result.verdict is Verdict.INCONCLUSIVE
    assert next(check for check in result.checks if check.name == "finite-answers").outcome is Verdict.INCONCLUSIVE
    assert result.n == int((~silent).sum())


def test_a_service_that_does_not_answer_in_time_is_given_up(server: Server) -> None:
    remote = connect(server, settings=HASTY)

    def hang(method: str, path: str, body: Any) -> Reply:
        server.over.wait(20)
        return 500, {}, b""

    server.reply = hang
    with pytest.raises(ServiceError, match=r"2 requests in a row stayed unanswered.*does not answer in time") as caught:
        remote.answer(X)
    assert caught.value.where == f"{server.url}/predict"
    assert caught.value.hint
    assert remote.statistics.timeouts == 4


def test_an_answer_that_drips_is_given_up(server: Server) -> None:
    remote = connect(server, settings=RemoteSettings(timeout_seconds=0.5, retries=0, patience=1))

    def drip(self: Handler, body: Any) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "1000000")
        self.end_headers()
        while not self.server.over.wait(0.05):
            self.wfile.write(b" ")

    original = Handler.answer
    Handler.answer = drip
    try:
        with pytest.raises(ServiceError, match="in time"):
            remote.answer(X[:4])
    finally:
        Handler.answer = original


DRIPS: dict[str, tuple[bytes, bytes]] = {
    "the status line": (b"HTTP/1.1 200 ", b"O"),
    "headers": (b"HTTP/1.1 200 OK\r\nX-Long: ", b"x"),
    "interim answers": (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "a piece's length": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"0"),
    "a trailer": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n[]\r\n0\r\n", b"x"),
}


@pytest.mark.parametrize("drip", DRIPS)
def test_a_service_that_drips_whatever_part_of_its_answer_is_given_up(server: Server, drip: str) -> None:
    """Each byte comes in time; the whole never would."""
    remote = connect(server, settings=RemoteSettings(timeout_seconds=0.4, retries=0, patience=1))

    def answer(self: Handler, body: Any) -> None:
        start, again = DRIPS[drip]
        self.wfile.write(start)
        for _ in range(200):  # ten seconds, for a client that waits for ever
            if self.server.over.wait(0.05):
                return
            self.wfile.write(again)
        self.close_connection = True

    original, began = Handler.answer, time.monotonic()
    Handler.answer = answer
    try:
        with pytest.raises(ServiceError, match="in time"):
            remote.answer(X[:4])
    finally:
        Handler.answer = original
    assert time.monotonic() - began < 8
    assert remote.statistics.timeouts == 1


def test_a_slow_service_is_given_the_whole_time_again_for_each_request(server: Server) -> None:
    """What one answer had to spare at its end is not what the next one over the same connection gets."""
    remote = connect(server, settings=RemoteSettings(timeout_seconds=1.0, batch=16, retries=0))

    def slow(method: str, path: str, body: Any) -> Reply:
        server.over.wait(0.2)
        return plain(method, path, body)

    server.reply = slow
    np.testing.assert_allclose(remote.answer(X[:96]), PROBS[:96], rtol=1e-6)  # six requests
    assert (server.connections, remote.statistics.timeouts) == (1, 0)


def test_an_answer_that_breaks_off_is_asked_for_again(server: Server) -> None:
    remote = connect(server)
    broken: list[int] = []

    def once_broken(method: str, path: str, body: Any) -> Reply:
        status, headers, content = plain(method, path, body)
        broken.append(1)
        if len(broken) > 1:
            return status, headers, content
        return status, {**headers, "Content-Length": str(len(content)), "Connection": "close"}, content[:20]

    server.reply = once_broken
    np.testing.assert_allclose(remote.answer(X[:16]), PROBS[:16], rtol=1e-6)
    assert (remote.statistics.failed, remote.statistics.retries, remote.statistics.nonsense) == (1, 1, 0)


@pytest.mark.parametrize("path", ["/predict", "/v2/models/m"])
def test_a_service_that_finds_everything_too_large_is_told(server: Server, path: str) -> None:
    server.reply = lambda method, path, body: (413, {}, b"")
    with pytest.raises(ServiceError, match="one input is too large"):
        connect(server, path)


def test_nonsense_after_a_smaller_first_request_is_told(server: Server) -> None:
    server.reply = lambda method, path, body: (
        (413, {}, b"") if len(body["instances"]) > 1 else ok({"predictions": "no list"})
    )
    with pytest.raises(ServiceError, match="is not understood"):
        connect(server)


@pytest.mark.parametrize("shape", [[-1, 10**12], [-1, 10**30], [-1, 1 << 20, 1 << 20]])
def test_a_service_that_claims_inputs_beyond_all_memory_is_not_believed(server: Server, shape: list[int]) -> None:
    metadata = {"inputs": [{"name": "x", "datatype": "FP32", "shape": shape}]}
    server.reply = lambda method, path, body: ok(metadata)
    with pytest.raises(UsageError, match="nothing says what inputs"):
        RemotePredictor.connect(f"{server.url}/v2/models/m", settings=PATIENT)


def test_a_whole_number_of_any_length_is_no_answer(server: Server) -> None:
    remote = connect(server)
    server.reply = lambda method, path, body: ok({"predictions": [[10**400, 0, 0]] * len(body["instances"])})
    with pytest.raises(ServiceError, match="does not answer with numbers"):
        remote.answer(X)


@pytest.mark.parametrize(
    "url",
    ["http://127.0.0.1/mod\u00e8le", "http://127.0.0.1/a b", "http://127.0.0.1/x?q=\u00e9", f"http://{'a' * 70}.org/x"],
)
def test_an_address_that_cannot_be_sent_is_told_before_it_is_tried(url: str) -> None:
    waits: list[float] = []
    with pytest.raises(UsageError) as caught:
        RemotePredictor.connect(url, probes=X[:2], settings=PATIENT, sleep=waits.append)
    assert caught.value.hint
    assert waits == []


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"<html>busy</html>", "no JSON"),
        (b"[" * 4000, "no JSON"),
        (b'{"predictions": [[0.1, 0.2, 0.7]]}', "no list of answers to 16 inputs"),
        (b'{"predictions": "none"}', "no list of answers"),
        (b'{"error": "overloaded"}', "holds none of"),
        (b'{"predictions": [' + b",".join([b'["a", 1, 2]'] * 16) + b"]}", "numbers"),
        (b'{"predictions": [' + b",".join([b"[1, 2]"] * 16) + b"]}", "2 numbers a row, there are 3 classes"),
        (b'{"x": "' + b"y" * 5000 + b'"}', "larger than 4096 bytes"),
    ],
)
def test_nonsense_is_recorded_and_given_up(server: Server, content: bytes, reason: str) -> None:
    remote = connect(server, settings=RemoteSettings(batch=16, max_answer_bytes=4096, timeout_seconds=2))
    server.reply = lambda method, path, body: (200, {}, content)
    with pytest.raises(ServiceError, match=reason):
        remote.answer(X)
    assert remote.statistics.nonsense == 3
    assert remote.statistics.unanswered == 48


@pytest.mark.parametrize(
    "outputs",
    [
        None,
        {},
        [],
        [1],
        [{"name": "scores"}],
        [{"name": "scores", "shape": [8, 3], "data": [1.0]}],
        [{"name": "scores", "shape": [2, 3], "data": [1.0] * 6}],
        [{"name": "scores", "shape": ["8", 3], "data": [1.0] * 24}],
        [{"name": "scores", "shape": [8, 3], "data": [[1.0], 2.0]}],
        [{"name": "scores", "shape": [8, 3], "data": ["x"] * 24}],
    ],
)
def test_kserve_nonsense_is_told(server: Server, outputs: Any) -> None:
    server.reply = lambda method, path, body: ok({"outputs": outputs})
    with pytest.raises(ServiceError, match="is not understood") as caught:
        connect(server, "/v2/models/m")
    assert caught.value.hint


def test_broken_metadata_do_not_matter_if_the_model_answers(server: Server) -> None:
    for metadata in ([], {"inputs": 3}, {"inputs": [{"name": 1}], "outputs": [{"name": "a", "datatype": "FP32"}]}):

        def reply(method: str, path: str, body: Any, metadata: Any = metadata) -> Reply:
            if method == "GET":
                return ok(metadata)
            tensor = body["inputs"][0]
            found = probabilities(np.reshape(tensor["data"], tensor["shape"]))
            return ok({"outputs": [{"name": "b", "shape": [len(found), 3], "data": found}]})

        server.reply = reply
        np.testing.assert_allclose(connect(server, "/v2/models/m").answer(X), PROBS, rtol=1e-6)


@pytest.mark.parametrize("status", [301, 400, 401, 403, 404, 405, 422])
def test_a_refusal_for_good_is_told_at_once_with_a_remedy(server: Server, status: int) -> None:
    server.reply = lambda method, path, body: (status, {"Location": "/elsewhere"}, b"{}")
    with pytest.raises(ServiceError, match=f"the service answers {status}") as caught:
        connect(server)
    assert caught.value.hint
    assert len(server.seen) <= 2
    remote_error = str(caught.value)
    assert remote_error.startswith(server.url)


def test_requests_that_are_too_large_are_halved(server: Server) -> None:
    def small(method: str, path: str, body: Any) -> Reply:
        return (413, {}, b"") if len(body["instances"]) > 5 else plain(method, path, body)

    server.reply = small
    remote = connect(server)
    np.testing.assert_allclose(remote.answer(X), PROBS, rtol=1e-6)
    server.reply = lambda method, path, body: (413, {}, b"")
    with pytest.raises(ServiceError, match="one input is too large"):
        remote.answer(X)


def test_a_server_that_closes_kept_connections_is_asked_again_without_a_word(server: Server) -> None:
    server.reply = lambda method, path, body: (200, {"Connection": "close"}, plain(method, path, body)[2])
    remote = connect(server)
    np.testing.assert_allclose(remote.answer(X), PROBS, rtol=1e-6)
    assert remote.statistics.failed == 0
    assert server.connections == 9


def test_a_server_that_is_not_there_is_told(server: Server) -> None:
    gone = server.url
    server.shutdown()
    server.server_close()
    with pytest.raises(ServiceError, match="does not answer: the connection failed: connection refused"):
        RemotePredictor.connect(f"{gone}/predict", probes=X[:2], settings=PATIENT, sleep=lambda seconds: None)


def test_a_token_is_sent_and_never_shown(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODEL_TOKEN", SECRET)
    remote = connect(server, "/predict?key=hidden-key", token_env="MODEL_TOKEN")
    assert server.authorizations == [f"Bearer {SECRET}"]
    assert server.seen[0][1] == "/predict?key=hidden-key"
    server.reply = lambda method, path, body: (403, {}, b"")
    with pytest.raises(ServiceError) as caught:
        remote.answer(X)
    told = f"{caught.value}{caught.value.hint}{remote.place}{remote!r}{remote.statistics}"
    assert SECRET not in told
    assert "hidden-key" not in told


@pytest.mark.parametrize("token", ["", "two words", "line\nbreak", "naïve"])
def test_a_token_that_cannot_be_sent_is_refused_without_showing_it(
    server: Server, monkeypatch: pytest.MonkeyPatch, token: str
) -> None:
    monkeypatch.setenv("MODEL_TOKEN", token)
    with pytest.raises(UsageError, match="MODEL_TOKEN holds no token") as caught:
        connect(server, token_env="MODEL_TOKEN")
    assert not token or token not in str(caught.value)
    assert server.seen == []


def test_a_token_is_not_sent_in_the_clear(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODEL_TOKEN", SECRET)
    with pytest.raises(UsageError, match="in the clear"):
        RemotePredictor.connect("http://models.example.org/predict", probes=X, token_env="MODEL_TOKEN")


@pytest.mark.parametrize(
    "url", ["http://", "http://user:word@127.0.0.1/x", "http://127.0.0.1:99999/x", "http://[::1/x"]
)
def test_an_address_that_is_none_is_told_and_hides_passwords(url: str) -> None:
    with pytest.raises(UsageError) as caught:
        open_target(url, spec=SPEC)
    assert caught.value.hint
    assert "word" not in str(caught.value).replace("password", "")


def test_inputs_must_be_told_where_the_service_does_not(server: Server) -> None:
    with pytest.raises(UsageError, match="nothing says what inputs the service takes"):
        open_target(f"{server.url}/predict")
    with pytest.raises(UsageError, match="3 classes apart, not 4"):
        open_target(f"{server.url}/predict", spec=SPEC, classes=4)


@dataclass(frozen=True)
class Swap:
    """Puts an input of another class in place of each: breaks whatever it can be tried on."""

    id = "test.swap"
    needs = Access.LABELS
    paper = "none"

    def threat(self, target):
        return Threat(goal="another class", access=target.access)

    def within(self, changed, original):
        return np.ones(len(changed), dtype=np.bool_)

    def craft(self, target: Target, batch: Batch) -> tuple[Check, ...]:
        batch.best[:] = np.roll(batch.x, 1, axis=1)
        target.labels(batch.best)
        return ()


def _dead(server: Server) -> Reply:
    return 500, {}, b""


def _limited(server: Server) -> Reply:
    return 429, {"Retry-After": "1"}, b""


def _hanging(server: Server) -> Reply:
    server.over.wait(20)
    return 500, {}, b""


@pytest.mark.parametrize("failure", [_dead, _limited, _hanging], ids=["dies", "limits the rate", "hangs"])
@pytest.mark.parametrize("requests", range(4, 9))
def test_what_was_found_before_a_service_failed_stands(server: Server, failure: Any, requests: int) -> None:
    remote = connect(server, settings=RemoteSettings(timeout_seconds=0.2, batch=16, retries=0, patience=1))
    seen = len(server.seen)

    def fails(method: str, path: str, body: Any) -> Reply:
        return plain(method, path, body) if len(server.seen) - seen <= requests else failure(server)

    server.reply = fails
    target = Target(remote, SPEC)
    result = attack_examples(Swap(), target, Labelled(x=X, y=Y), budget=Budget(batch=16), seed=0)
    # The first batch takes four requests (answers, once more, search, outcome), each further one three.
    batches = 1 + (requests - 4) // 3
    assert result.n == 16 * batches
    assert result.rate == 1.0
    assert result.verdict is Verdict.FAIL
    lost = next(check for check in result.checks if check.name == "service-lost")
    assert lost.outcome is Verdict.INCONCLUSIVE
    assert "in a row stayed unanswered" in lost.detail
    assert len(target.ledger.outages) >= 1
    withstood = attack_examples(Nothing(), target, Labelled(x=X, y=Y), budget=Budget(batch=16), seed=0)
    assert withstood.verdict is Verdict.INCONCLUSIVE
    assert (withstood.n, withstood.rate) == (0, None)


def test_a_service_that_recovers_tells_the_outcomes_of_a_search_that_it_broke(server: Server) -> None:
    remote = connect(server, settings=RemoteSettings(batch=16, retries=0, patience=1))
    seen = len(server.seen)
    server.reply = lambda method, path, body: (
        _dead(server) if len(server.seen) - seen == 3 else plain(method, path, body)
    )
    result = attack_examples(Swap(), Target(remote, SPEC), Labelled(x=X, y=Y), budget=Budget(batch=16), seed=0)
    assert (result.n, result.rate) == (16, 1.0)
    assert result.verdict is Verdict.FAIL
    assert any(check.name == "service-lost" for check in result.checks)


def test_outcomes_are_kept_up_to_the_piece_where_the_service_failed(server: Server) -> None:
    remote = connect(server, settings=RemoteSettings(batch=16, retries=0, patience=1))
    seen = len(server.seen)

    def reply(method: str, path: str, body: Any) -> Reply:
        # 120 examples are 8 requests: answers 8, again 4, search fails at its first, then two pieces of outcomes.
        made = len(server.seen) - seen
        return plain(method, path, body) if made <= 12 or made in {14, 15} else _dead(server)

    server.reply = reply
    result = attack_examples(Swap(), Target(remote, SPEC), Labelled(x=X, y=Y), budget=Budget(batch=120), seed=0)
    assert (result.n, result.rate) == (32, 1.0)
    assert result.details["clean_accuracy"]["value"] == 1.0
    assert result.verdict is Verdict.FAIL


@pytest.mark.parametrize("requests", [40, 90, 200])
def test_an_audit_of_a_service_that_dies_keeps_what_it_has_and_never_passes(server: Server, requests: int) -> None:
    remote = connect(server, settings=RemoteSettings(batch=64, retries=0, patience=1))
    seen = len(server.seen)
    server.reply = lambda method, path, body: (
        plain(method, path, body) if len(server.seen) - seen <= requests else _dead(server)
    )
    data = AuditData(held_out=Labelled(x=X, y=Y), source="made up", sha256="0" * 64)
    settings = AuditSettings(seconds=20.0, radius=1e-6, tier="standard")
    about = Audited(where=server.url, kind="a service")
    outcome = audit(Target(remote, SPEC, name="flowers"), data, settings=settings, about=about)
    assert outcome.verdict is Verdict.INCONCLUSIVE
    assert check_audit(outcome.predicate) is outcome.verdict
    assert any(one["reason"] == "the service was lost" for one in outcome.predicate["cut"])
    assert any(check["name"] == "service-lost" for one in outcome.predicate["attacks"] for check in one["checks"])
    render_audit(outcome.predicate)
