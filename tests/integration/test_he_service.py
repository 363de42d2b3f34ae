"""The scoring service and its clients as processes of their own, over sockets, under mutual TLS."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from click.testing import CliRunner

from wardline.cli.app import cli
from wardline.core import BudgetError, IntegrityError, KeyAccessError, ServiceError
from wardline.crypto.keyfiles import KdfCost
from wardline.he.compiled.compiling import compile_model
from wardline.he.compiled.folder import WEIGHTS_FILE, read_public, write_model
from wardline.he.compiled.parcels import write_keys_parcel
from wardline.he.compiler.layers import Affine
from wardline.he.compiler.program import Meaning, Program
from wardline.he.frames.columns import write_columns
from wardline.he.frames.evaluation_keys import keys_digest, write_evaluation_keys
from wardline.he.frames.replies import read_replies
from wardline.he.frames.session import Binding, Session
from wardline.he.linear.plan import LEFT_OUT
from wardline.he.linear.rows import encrypt_rows, unsafe_raw_outputs
from wardline.he.seal.bridge import SealLattice
from wardline.he.seal.keyfile import write_secret_key
from wardline.he.seal.keys import unsafe_export_residues
from wardline.serve.scoring.certificates import TlsFiles, make_development_certificates
from wardline.serve.scoring.client import ScoringClient
from wardline.serve.scoring.connection import ScoringConnection
from wardline.serve.scoring.health import SERVING, check_request
from wardline.serve.scoring.messages import (
    CHUNK_BYTES,
    REASON_KEY,
    SERVICE,
    OpenSession,
    Score,
    SessionOpened,
    UploadKeys,
)
from wardline.serve.scoring.meter import RowMeter

FEATURES = ("income", "debt", "age", "years")
PASSPHRASE = "four random words here"
BUDGET = 12_000
CHEAP = KdfCost(memory_kib=19_456, iterations=1, lanes=1)

pytestmark = pytest.mark.slow


def model_and_rows(count: int) -> tuple[Program, np.ndarray]:
    generator = np.random.default_rng(5)
    rows = generator.normal(size=(count, 4)) * (2e4, 5e3, 12, 6) + (5e4, 8e3, 45, 9)
    layer = Affine(weights=np.array([[3e-5, -2e-4, 0.01, 0.05]]), offset=np.array([-0.8]))
    meaning = Meaning(gives="decision", classes=("refuse", "grant"), link="sigmoid")
    return Program(input_shape=(4,), layers=(layer,), meaning=meaning, features=FEATURES), rows


@dataclass
class Service:
    """A folder with a model, certificates and an account, and the process that serves it."""

    folder: Path
    program: Program
    rows: np.ndarray
    process: subprocess.Popen[str] | None = None
    port: int = 0
    metrics_port: int = 0
    lattice: SealLattice = field(init=False)

    def tls(self, name: str, *, folder: str = "tls") -> TlsFiles:
        own = self.folder / folder
        return TlsFiles(
            authority=self.folder / "tls" / "authority.pem", certificate=own / f"{name}.pem", key=own / f"{name}.key"
        )

    def command(self) -> list[str]:
        tls, server = self.folder / "tls", self.folder / "server"
        return [
            *(sys.executable, "-m", "wardline", "he", "serve", str(server / "model"), "--address", "127.0.0.1:0"),
            *("--authority", str(tls / "authority.pem"), "--certificate", str(tls / "server.pem")),
            *("--tls-key", str(tls / "server.key"), "--account", str(server / "rows.sqlite")),
            *("--rows", str(BUDGET), "--client", "poor=10", "--metrics-port", "0"),
        ]

    def start(self) -> None:
        with (self.folder / "server" / "log").open("a") as log:
            self.process = subprocess.Popen(self.command(), stdout=subprocess.PIPE, stderr=log, text=True)
        assert self.process.stdout is not None
        told = json.loads(self.process.stdout.readline() or "{}")
        self.port, self.metrics_port = told["port"], told["metrics_port"]

    def stop(self) -> None:
        assert self.process is not None
        self.process.terminate()
        assert self.process.wait(timeout=30) == 0

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait(timeout=30)

    def left(self, client: str) -> int:
        """Of a client's budget, as the file says that the other process keeps."""
        meter = RowMeter(self.folder / "server" / "rows.sqlite")
        try:
            return BUDGET - meter.spent(client, model=read_public(self.folder / "server" / "model").digest)
        finally:
            meter.close()

    def connect(self, name: str, **more: Any) -> ScoringConnection:
        return ScoringConnection(f"localhost:{self.port}", tls=self.tls(name), pause=lambda _: None, **more)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("he")
    program, rows = model_and_rows(6000)
    found = Service(folder, program, rows)
    compiled = compile_model(program, rows[:2000])
    write_model(folder / "server" / "model", compiled.public, compiled.weights)
    names = ("alice", "bob", "carol", "dora", "erin", "fay", "greg", "hana", "poor")
    make_development_certificates(folder / "tls", clients=names)
    make_development_certificates(folder / "strangers", clients=("alice",))
    found.lattice = SealLattice.generate(compiled.public.plan.parameters)
    found.start()
    yield found
    found.kill()


class Raw:
    """A client that says what it likes."""

    def __init__(self, service: Service, name: str) -> None:
        pair = service.tls(name).read()
        credentials = grpc.ssl_channel_credentials(pair.authority, pair.key, pair.certificate)
        self.channel = grpc.secure_channel(f"localhost:{service.port}", credentials)
        self.public = read_public(service.folder / "server" / "model")
        self.lattice = service.lattice
        self.keys = self.lattice.evaluation_keys()

    def unary(self, method: str, message: bytes, **more: Any) -> bytes:
        return self.channel.unary_unary(f"/{SERVICE}/{method}")(message, **{"timeout": 20, **more})

    def open(self, digest: bytes | None = None) -> SessionOpened:
        asked = OpenSession(model=self.public.digest, keys=digest or keys_digest(self.keys))
        return SessionOpened.from_bytes(self.unary("OpenSession", asked.to_bytes()))

    def upload(self, session: Session) -> bytes:
        frame = write_evaluation_keys(self.keys, session=session, binding=Binding.fresh())
        messages = iter([UploadKeys(session=session.id).to_bytes(), frame])
        return self.channel.stream_unary(f"/{SERVICE}/UploadKeys")(messages, timeout=20)

    def session(self) -> Session:
        session = Session(self.open().secret)
        self.upload(session)
        return session

    def frame(self, rows: np.ndarray, session: Session, binding: Binding) -> bytes:
        (columns,) = encrypt_rows(self.lattice, self.public.plan, rows)
        return write_columns(columns, session=session, binding=binding, dropped_bits=LEFT_OUT)

    def header(self, session: Session, binding: Binding, rows: int) -> bytes:
        asked = Score(session=session.id, model=self.public.digest, request=binding.request, rows=rows)
        return asked.to_bytes()

    def send(self, messages: Sequence[bytes]) -> bytes:
        return b"".join(self.channel.stream_stream(f"/{SERVICE}/Score")(iter(messages), timeout=20))

    def score(self, rows: np.ndarray, session: Session, binding: Binding, *, charged: int | None = None) -> np.ndarray:
        frame = self.frame(rows, session, binding)
        answer = self.send([self.header(session, binding, charged or len(rows)), frame])
        plan, limits = self.public.plan, self.public.limits
        _, replies = read_replies(answer, parameters=plan.parameters, session=session, limits=limits, binding=binding)
        return unsafe_raw_outputs(self.lattice, plan, [replies], rows=len(rows))

    def fresh(self) -> Binding:
        return Binding.fresh(model=self.public.digest)


def refused(call: Callable[[], Any]) -> tuple[Any, str]:
    """Status and reason of a refusal."""
    with pytest.raises(grpc.RpcError) as caught:
        call()
    reasons = [str(value) for key, value in caught.value.trailing_metadata() or () if key == REASON_KEY]
    return caught.value.code(), (reasons or [""])[0]


def test_scores_equal_the_plain_models(service: Service) -> None:
    with service.connect("alice") as connection:
        client = ScoringClient(connection, service.lattice)
        inside = service.rows[: 4096 + 700]  # two batches
        plan = connection.public.plan
        inside = inside[(np.abs(inside - plan.centre) <= plan.half_width).all(axis=1)]
        found = client.score(inside)
        left = connection.rows_left(client.keys)
    plain = service.program.evaluate(inside)
    assert np.abs(found - plain).max() <= plan.worst + plan.step / 2
    assert np.array_equal(found, np.rint(found / plan.step) * plan.step)
    assert (service.program.meaning.decide(found) == service.program.meaning.decide(plain)).mean() >= 0.999
    assert left == BUDGET - len(inside)


def test_only_certificates_of_the_authority_and_for_clients_are_served(service: Service) -> None:
    stranger = ScoringConnection(
        f"localhost:{service.port}", tls=service.tls("alice", folder="strangers"), retries=0, seconds=5
    )
    with stranger, pytest.raises(ServiceError):
        _ = stranger.public
    server = ScoringConnection(f"localhost:{service.port}", tls=service.tls("server"), retries=0, seconds=5)
    with server, pytest.raises(ServiceError):
        _ = server.public
    plain = grpc.insecure_channel(f"localhost:{service.port}")
    assert refused(lambda: plain.unary_unary(f"/{SERVICE}/Describe")(b"{}", timeout=5))[0] is (
        grpc.StatusCode.UNAVAILABLE
    )
    with service.connect("alice") as known:
        assert known.public.features == FEATURES


def test_a_client_refuses_a_model_that_it_did_not_expect(service: Service) -> None:
    with service.connect("alice", model="00" * 32) as connection, pytest.raises(IntegrityError, match="expected"):
        _ = connection.public


def test_sessions_and_keys_belong_to_one_client(service: Service) -> None:
    bob, carol = Raw(service, "bob"), Raw(service, "carol")
    session = bob.session()
    rows = service.rows[:3]
    assert np.isfinite(bob.score(rows, session, bob.fresh())).all()
    # Carol knows the whole secret of Bob's session, and is refused all the same.
    denied = (grpc.StatusCode.PERMISSION_DENIED, "session")
    assert refused(lambda: carol.score(rows, session, carol.fresh())) == denied
    assert refused(lambda: carol.upload(session)) == denied
    unknown = Session.generate()
    assert refused(lambda: carol.score(rows, unknown, carol.fresh())) == denied, "nobody is told which it was"
    # Keys are found under their own client alone.
    digest = keys_digest(bob.keys)
    assert bob.open(digest).keys_known
    opened = carol.open(digest)
    assert not opened.keys_known
    without = Session(opened.secret)
    assert refused(lambda: carol.score(rows, without, carol.fresh()))[1] == "keys"
    # and a session takes the keys that it was opened for, and no others.
    assert refused(lambda: carol.upload(without)) == (grpc.StatusCode.INVALID_ARGUMENT, "malformed")


def test_a_request_is_charged_and_answered_once(service: Service) -> None:
    dora = Raw(service, "dora")
    session, binding, rows = dora.session(), dora.fresh(), service.rows[:5]
    dora.score(rows, session, binding)
    assert refused(lambda: dora.score(rows, session, binding)) == (grpc.StatusCode.ALREADY_EXISTS, "replay")
    # nor in another session, nor with a frame that was recorded
    assert refused(lambda: dora.score(rows, dora.session(), binding))[1] == "replay"
    assert service.left("dora") == BUDGET - 5
    other = dora.fresh()
    recorded = dora.frame(rows, session, binding)
    assert refused(lambda: dora.send([dora.header(session, other, 5), recorded]))[1] == "malformed"
    dora.score(rows, session, other)
    assert service.left("dora") == BUDGET - 10


def test_rows_that_were_not_charged_cannot_be_read_from_the_answer(service: Service) -> None:
    dora = Raw(service, "dora")
    session, rows = dora.session(), service.rows[:500]
    plain = service.program.evaluate(rows)
    worst = dora.public.plan.worst
    clipped = np.clip(rows, dora.public.plan.centre - dora.public.plan.half_width, None)
    plain = service.program.evaluate(np.minimum(clipped, dora.public.plan.centre + dora.public.plan.half_width))
    whole = dora.score(rows, session, dora.fresh())
    assert np.abs(whole - plain).max() <= worst, "the control: all that were charged are there"
    cut = dora.score(rows, session, dora.fresh(), charged=7)
    assert np.abs(cut[:7] - plain[:7]).max() <= worst
    # What is left is uniform over the plain modulus, whose width is above 2.5 times the bound of a score: within
    # `worst` of a value falls at most 2 worst / (2.5 bound) of it, here below 1 in 20. Of 493, 200 come near with a
    # probability below 1e-100 (Chernoff).
    assert 2 * worst / (2.5 * dora.public.plan.bound) < 0.05
    assert (np.abs(cut[7:] - plain[7:]) <= worst).sum() < 200


def test_malformed_messages_are_refused_and_the_service_goes_on(service: Service) -> None:
    erin = Raw(service, "erin")
    session, rows = erin.session(), service.rows[:4]
    binding = erin.fresh()
    header, frame = erin.header(session, binding, 4), erin.frame(rows, session, binding)
    generator = np.random.default_rng(0)
    flipped = []
    for _ in range(24):
        broken = bytearray(frame)
        broken[generator.integers(len(frame))] ^= 1 << int(generator.integers(8))
        flipped.append([header, bytes(broken)])
    cases = [
        [],
        [b""],
        [b"garbage", frame],
        [header],
        [header, b""],
        [header, generator.bytes(5000)],
        [header, frame[:100]],
        [header, frame[:-1]],
        [header, frame + b"\0"],
        [header, frame[:1000], frame[1000:]],  # not cut as it has to be
        [header, write_evaluation_keys(erin.keys, session=session, binding=binding)],
        [header + b" ", frame],
        [header.replace(b'"rows":4', b'"rows":4.5'), frame],
        [header.replace(b'"rows":4', b'"rows":0'), frame],
        [header.replace(b'"rows":4', b'"rows":5000'), frame],  # two frames are needed then
        [header[:-1] + b',"more":1}', frame],
        *flipped,
    ]
    before = service.left("erin")
    for case in cases:
        assert refused(lambda case=case: erin.send(case)) == (grpc.StatusCode.INVALID_ARGUMENT, "malformed"), case[:1]
    huge = header.replace(b'"rows":4', b'"rows":4000000000')
    assert refused(lambda: erin.send([huge, frame]))[1] == "too-large"
    large = refused(lambda: erin.send([header, frame + bytes(2 * CHUNK_BYTES)]))
    assert large[0] is grpc.StatusCode.RESOURCE_EXHAUSTED  # gRPC's own limit
    assert refused(lambda: erin.unary("Describe", b"x"))[1] == "malformed"
    assert refused(lambda: erin.unary("OpenSession", b"{}"))[1] == "malformed"
    assert refused(lambda: erin.unary("Describe", b"{}", timeout=None))[1] == "no-deadline"
    assert refused(lambda: erin.unary("Nothing", b"{}"))[0] is grpc.StatusCode.UNIMPLEMENTED
    assert service.left("erin") == before, "nothing of it was charged"
    # What follows a good request is seen after it was charged and answered.
    assert refused(lambda: erin.send([header, frame, frame]))[1] == "malformed"
    assert service.left("erin") == before - 4
    assert np.isfinite(erin.score(rows, session, erin.fresh())).all(), "and the service goes on"


def test_rows_are_metered_and_a_crash_forgets_none(service: Service) -> None:
    with service.connect("poor") as connection:
        client = ScoringClient(connection, service.lattice)
        client.score(service.rows[:6])
        with pytest.raises(BudgetError, match="4 are left"):
            client.score(service.rows[:5])
        assert connection.rows_left(client.keys) == 4
    fay = Raw(service, "fay")
    binding = fay.fresh()
    fay.score(service.rows[:5], fay.session(), binding)
    with service.connect("greg") as living:
        client = ScoringClient(living, service.lattice)
        client.score(service.rows[:2])
        service.kill()
        with pytest.raises(ServiceError):
            client.score(service.rows[:2])
        service.start()
    fay = Raw(service, "fay")
    assert service.left("fay") == BUDGET - 5
    assert refused(lambda: fay.score(service.rows[:5], fay.session(), binding))[1] == "replay"
    with service.connect("poor") as connection:
        client = ScoringClient(connection, service.lattice)
        with pytest.raises(BudgetError, match="4 are left"):
            client.score(service.rows[:5])
        client.score(service.rows[:4])
        with pytest.raises(BudgetError, match="0 are left"):
            client.score(service.rows[:1])


def test_public_keys_of_another_secret_are_refused_before_anything_is_charged(service: Service) -> None:
    others = SealLattice.generate(service.lattice.parameters).evaluation_keys()
    with service.connect("hana") as connection:
        with pytest.raises(ValueError, match="another secret key"):
            ScoringClient(connection, service.lattice, keys=others)
        client = ScoringClient(connection, service.lattice, keys=service.lattice.evaluation_keys())
        assert client.score(service.rows[:1]).shape == (1, 1)
    assert service.left("hana") == BUDGET - 1


def test_a_client_finds_its_way_after_its_sessions_are_over(service: Service) -> None:
    raw = Raw(service, "greg")
    with service.connect("greg") as connection:
        client = ScoringClient(connection, service.lattice)
        first = client.score(service.rows[:2])
        for _ in range(4):
            raw.open()  # the oldest session makes room
        assert np.abs(client.score(service.rows[:2]) - first).max() <= 2 * connection.public.plan.step


def test_health_and_metrics(service: Service) -> None:
    raw = Raw(service, "alice")
    check = raw.channel.unary_unary("/grpc.health.v1.Health/Check")
    assert check(b"", timeout=5) == SERVING == check(check_request(SERVICE), timeout=5)
    assert refused(lambda: check(check_request("other"), timeout=5))[0] is grpc.StatusCode.NOT_FOUND
    raw.session()
    with urllib.request.urlopen(f"http://127.0.0.1:{service.metrics_port}/metrics", timeout=5) as answer:
        text = answer.read().decode()
    assert 'wardline_calls_total{method="OpenSession",outcome="ok"}' in text
    assert "wardline_evaluation_seconds_count" in text


def test_commands_encrypt_here_send_from_there_and_decrypt_here(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = service.rows[:40]
    with (tmp_path / "rows.csv").open("w", newline="") as file:
        csv.writer(file).writerows([FEATURES, *rows.tolist()])
    public = service.folder / "server" / "model" / "public.json"
    write_secret_key(tmp_path / "branch.secret", service.lattice.key, passphrase=PASSPHRASE, cost=CHEAP)
    lattice = service.lattice
    write_keys_parcel(
        tmp_path / "branch.evaluation", read_public(public), lattice.evaluation_keys(), key=lattice.key.id
    )
    tls = service.tls("alice")
    model, key = ("--model", str(public)), ("--key", str(tmp_path / "branch.secret"))
    service_options = [
        *("--service", f"localhost:{service.port}", "--evaluation", str(tmp_path / "branch.evaluation"), *model),
        *("--authority", str(tls.authority), "--certificate", str(tls.certificate), "--tls-key", str(tls.key)),
    ]

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WARDLINE_PASSPHRASE", PASSPHRASE)

    def he(*words: str) -> str:
        done = CliRunner().invoke(cli, ["he", *words], catch_exceptions=False)
        assert done.exit_code == 0, done.stderr
        return done.stdout

    he("encrypt", "rows.csv", *model, *key, "--out", "rows.encrypted")
    he("score", "rows.encrypted", *service_options, "--out", "scores.encrypted")
    table = list(csv.DictReader(he("decrypt", "scores.encrypted", *model, *key).splitlines()))
    plain = service.program.evaluate(rows)[:, 0]
    decided = service.program.decide(rows)
    assert [one["decision"] for one in table] == [("refuse", "grant")[index] for index in decided]
    assert np.abs(np.array([float(one["score"]) for one in table]) - plain).max() < 0.1
    # a mixed-up key is refused by name, before rows are charged: what it decrypts to would look like scores
    other = SealLattice.generate(lattice.parameters)
    write_secret_key(tmp_path / "other.secret", other.key, passphrase=PASSPHRASE, cost=CHEAP)
    write_keys_parcel(tmp_path / "other.evaluation", read_public(public), other.evaluation_keys(), key=other.key.id)
    wrong = ("--evaluation", str(tmp_path / "other.evaluation"))  # the last one given counts
    for refused in (
        ("decrypt", "scores.encrypted", *model, "--key", str(tmp_path / "other.secret")),
        ("score", "rows.encrypted", *service_options, *wrong, "--out", "x"),
        ("score", "rows.csv", *service_options, *wrong, *key),
    ):
        found = CliRunner().invoke(cli, ["he", *refused]).exception
        assert isinstance(found, KeyAccessError), found
        assert "another key" in found.message
    # and all at once, as a process of its own
    words = [sys.executable, "-m", "wardline", "he", "score", "rows.csv", *service_options, *key, "--format", "json"]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    assert [json.loads(line)["decision"] for line in lines] == [one["decision"] for one in table]


def test_no_secret_is_in_any_file_of_the_server(service: Service, tmp_path: Path) -> None:
    """After all that went on above: needles are the secret as it is stored, as words of 4 and 8 bytes, and its id."""
    residues = unsafe_export_residues(service.lattice.key)
    needles = [service.lattice.key.id.encode()]
    for start in (0, 100, 2000):
        run = residues[0, start : start + 8]
        needles += [run.astype("<u4").tobytes(), run.astype("<u8").tobytes()]
    # rows, too: as numbers and as text
    needles += [service.rows[0, 0].tobytes(), f"{service.rows[0, 0]:.3f}".encode()]

    def found(folder: Path) -> int:
        contents = [path.read_bytes() for path in folder.rglob("*") if path.is_file()]
        return sum(needle in content for needle in needles for content in contents)

    (tmp_path / "leak").write_bytes(residues.astype("<u4").tobytes())
    assert found(tmp_path), "the control: a secret that is there is found"
    files = {path.name for path in (service.folder / "server").rglob("*")}
    assert {"log", "rows.sqlite", WEIGHTS_FILE} <= files
    assert found(service.folder / "server") == 0


def test_a_changed_model_is_not_served(service: Service) -> None:
    service.stop()
    weights = service.folder / "server" / "model" / WEIGHTS_FILE
    content = weights.read_bytes()
    try:
        weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        done = subprocess.run(service.command(), capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 3
        assert "WL-E301" in done.stderr
    finally:
        weights.write_bytes(content)
    service.start()
    with service.connect("alice") as connection:
        assert connection.public.features == FEATURES, "the control: the one that was written is"
