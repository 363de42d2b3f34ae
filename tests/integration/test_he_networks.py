"""Networks over the service: processes of their own, mutual TLS, rows charged by powers of two, and the commands."""

from __future__ import annotations

import csv
import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest
from click.testing import CliRunner

from wardline.cli.app import cli
from wardline.core import BudgetError
from wardline.crypto.keyfiles import KdfCost
from wardline.he.compiled.folder import read_public
from wardline.he.frames.columns import write_columns
from wardline.he.frames.evaluation_keys import keys_digest, write_evaluation_keys
from wardline.he.frames.replies import read_replies
from wardline.he.frames.session import Binding, Session
from wardline.he.seal.bridge import SealLattice
from wardline.he.seal.keyfile import write_secret_key
from wardline.serve import ScoringClient
from wardline.serve.scoring.messages import REASON_KEY, SERVICE, OpenSession, Score, SessionOpened, UploadKeys
from wardline.serve.scoring.trial import TrialService, tls_of, trial_service

FEATURES = ("a", "b", "c")
PASSPHRASE = "four random words here"
CHEAP = KdfCost(memory_kib=19_456, iterations=1, lanes=1)
BUDGET = 20_000

pytestmark = pytest.mark.slow


def sample(count: int) -> np.ndarray:
    return np.random.default_rng(4).uniform(-1, 1, (count, 3))


def plain(rows: np.ndarray) -> np.ndarray:
    """What the ONNX file computes: tanh(x W1 + b1) W2 + b2, one decision value."""
    first, second = weights()
    return np.tanh(rows @ first[0] + first[1]) @ second[0] + second[1]


def weights() -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    generator = np.random.default_rng(8)
    first = generator.normal(size=(3, 5)) / 2, generator.normal(size=5) / 2
    return first, (generator.normal(size=(5, 1)), np.array([0.1]))


def write_onnx(path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    helper, numpy_helper = onnx.helper, pytest.importorskip("onnx.numpy_helper")
    arrays = [one.astype(np.float32) for layer in weights() for one in layer]
    names = ("w1", "b1", "w2", "b2")
    nodes = [
        helper.make_node("Gemm", ["x", "w1", "b1"], ["h"]),
        helper.make_node("Tanh", ["h"], ["t"]),
        helper.make_node("Gemm", ["t", "w2", "b2"], ["y"]),
    ]
    kind = onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("x", kind, ["rows", 3])],
        [helper.make_tensor_value_info("y", kind, ["rows", 1])],
        [numpy_helper.from_array(array, name) for array, name in zip(arrays, names, strict=True)],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), path)


def he(*words: str | Path) -> str:
    done = CliRunner().invoke(cli, ["he", *map(str, words)], catch_exceptions=False)
    assert done.exit_code == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TrialService]:
    folder = tmp_path_factory.mktemp("networks")
    write_onnx(folder / "model.onnx")
    with (folder / "sample.csv").open("w", newline="") as file:
        csv.writer(file).writerows([FEATURES, *sample(600).tolist()])
    told = json.loads(
        he(
            *("compile", folder / "model.onnx", "--sample", folder / "sample.csv", "--features", "a,b,c"),
            *("--agreement", "0.98", "--out", folder / "model", "--format", "json"),
        )
    )
    assert told["kind"] == "network"
    assert told["agreement"] >= 0.98
    options = ("--client", "poor=20", "--threads", "2", "--memory", "2")
    with trial_service(
        folder / "model", folder / "service", rows=BUDGET, clients=("alice", "bob", "poor"), options=options
    ) as found:
        assert found.model == told["digest"]
        yield found


@pytest.fixture(scope="module")
def lattice(service: TrialService) -> SealLattice:
    return SealLattice.generate(read_public(service.folder.parent / "model").plan.parameters)


def test_scores_are_those_of_the_plain_network(service: TrialService, lattice: SealLattice) -> None:
    with service.connect("alice") as connection:
        client = ScoringClient(connection, lattice)
        public = connection.public
        rows = sample(public.plan.rows + 5)  # two batches, the second one with a period of 8
        found = client.score(rows)
        assert connection.rows_left(client.keys) == BUDGET - public.plan.rows - 8
        assert np.abs(client.score(rows[:1]) - found[:1]).max() <= 2 * public.plan.step
        assert connection.rows_left(client.keys) == BUDGET - public.plan.rows - 9
    exact = plain(rows)
    assert (public.meaning.decide(found) == (exact[:, 0] > 0)).mean() >= 0.97
    assert np.array_equal(found, np.rint(found / public.plan.step) * public.plan.step)


def test_rows_are_charged_as_the_answer_tells_of_them(service: TrialService, lattice: SealLattice) -> None:
    with service.connect("poor") as connection:
        client = ScoringClient(connection, lattice)
        client.score(sample(9))
        assert connection.rows_left(client.keys) == 4
        with pytest.raises(BudgetError, match="8 rows were asked for, and 4 are left"):
            client.score(sample(5))
        client.score(sample(3))
        assert connection.rows_left(client.keys) == 0


def refused(call: object) -> str:
    with pytest.raises(grpc.RpcError) as caught:
        call()  # type: ignore[operator]
    return next((str(value) for key, value in caught.value.trailing_metadata() or () if key == REASON_KEY), "")


def test_keys_and_columns_of_another_kind_are_refused(service: TrialService, lattice: SealLattice) -> None:
    public = read_public(service.folder.parent / "model")
    pair = tls_of(service.folder / "tls", "bob").read()
    credentials = grpc.ssl_channel_credentials(pair.authority, pair.key, pair.certificate)
    channel = grpc.secure_channel(f"localhost:{service.port}", credentials)

    def upload(keys: object) -> Session:
        asked = OpenSession(model=public.digest, keys=keys_digest(keys)).to_bytes()
        opened = SessionOpened.from_bytes(channel.unary_unary(f"/{SERVICE}/OpenSession")(asked, timeout=20))
        session = Session(opened.secret)
        frame = write_evaluation_keys(keys, session=session, binding=Binding.fresh())
        pieces = [frame[at : at + (1 << 20)] for at in range(0, len(frame), 1 << 20)]
        messages = iter([UploadKeys(session=session.id).to_bytes(), *pieces])
        channel.stream_unary(f"/{SERVICE}/UploadKeys")(messages, timeout=20)
        return session

    assert refused(lambda: upload(lattice.evaluation_keys())) == "malformed", "a network multiplies ciphertexts"
    with_steps = lattice.evaluation_keys(relinearisation=True, steps=(1,))
    assert refused(lambda: upload(with_steps)) == "malformed", "and turns none"
    session = upload(lattice.evaluation_keys(relinearisation=True))

    def score(rows: np.ndarray, charged: int, *, scale: float = 1.0) -> list[object]:
        columns = lattice.encrypt_slots(rows, scale=public.plan.input_scale * scale)
        binding = Binding.fresh(model=public.digest)
        frame = write_columns(columns, session=session, binding=binding)
        header = Score(session=session.id, model=public.digest, request=binding.request, rows=charged).to_bytes()
        pieces = [frame[at : at + (1 << 20)] for at in range(0, len(frame), 1 << 20)]
        answer = channel.stream_stream(f"/{SERVICE}/Score")(iter([header, *pieces]), timeout=20)
        whole = b"".join(answer)
        _, found = read_replies(
            whole, parameters=public.plan.parameters, session=session, limits=public.limits, binding=binding
        )
        return found

    slots = np.resize(sample(64).T, (3, public.plan.rows))
    whole = lattice.decrypt_slots(score(slots, public.plan.rows))
    exact = plain(np.clip(slots.T, *(public.plan.centre + side * public.plan.half_width for side in (-1, 1))))
    assert np.corrcoef(whole[0], exact[:, 0])[0, 1] > 0.9, "the control: what was charged for can be read"
    cut = lattice.decrypt_slots(score(slots, 2))
    # Of 4,094 rows that were not charged, independent numbers would correlate by 0.1 with a probability below 1e-9.
    assert abs(np.corrcoef(cut[0, 2:], exact[2:, 0])[0, 1]) < 0.1
    assert refused(lambda: score(slots, 2, scale=2.0)) == "malformed"
    assert refused(lambda: score(slots[:2], 2)) == "malformed"


def test_commands_work_for_networks(
    service: TrialService, lattice: SealLattice, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    public = service.folder.parent / "model" / "public.json"
    rows = sample(6)
    with (tmp_path / "rows.csv").open("w", newline="") as file:
        csv.writer(file).writerows([FEATURES, *rows.tolist()])
    monkeypatch.setenv("WARDLINE_PASSPHRASE", PASSPHRASE)
    model = ("--model", public)
    assert "rows give as many numbers" in he("explain", public)
    write_secret_key(tmp_path / "branch.secret", lattice.key, passphrase=PASSPHRASE, cost=CHEAP)
    he("keys", tmp_path / "other", *model)
    # The keys of the command belong to the other secret; the branch makes its own.
    from wardline.he.compiled.parcels import read_keys_parcel, write_keys_parcel

    found = read_public(public)
    assert read_keys_parcel(tmp_path / "other.evaluation", found).relinearisation is not None
    write_keys_parcel(
        tmp_path / "branch.evaluation", found, found.kind.make_keys(lattice, found.plan), key=lattice.key.id
    )
    key = ("--key", tmp_path / "branch.secret")
    tls = tls_of(service.folder / "tls", "bob")
    asked = ("--service", f"localhost:{service.port}", "--evaluation", tmp_path / "branch.evaluation", *model)
    asked += ("--authority", tls.authority, "--certificate", tls.certificate, "--tls-key", tls.key)
    told = json.loads(
        he("encrypt", tmp_path / "rows.csv", *model, *key, "--out", tmp_path / "rows", "--format", "json")
    )
    assert (told["rows"], told["charged"]) == (6, 8)
    he("score", tmp_path / "rows", *asked, "--out", tmp_path / "scores")
    table = list(csv.DictReader(he("decrypt", tmp_path / "scores", *model, *key).splitlines()))
    off = np.array([float(one["score"]) for one in table]) - plain(rows)[:, 0]
    assert np.abs(off).max() < 0.3
    with urllib.request.urlopen(f"http://127.0.0.1:{service.metrics_port}/metrics", timeout=5) as answer:
        text = answer.read().decode()
    assert 'wardline_rows_total{client="bob"}' in text
    assert f'wardline_model_info{{kind="network",digest="{service.model}"}} 1' in text


def test_a_model_that_needs_more_memory_than_there_is_does_not_come_up(service: TrialService, tmp_path: Path) -> None:
    from wardline.core import ServiceError

    model = service.folder.parent / "model"
    with pytest.raises(ServiceError), trial_service(model, tmp_path, rows=1, options=("--memory", "0.001")):
        pass
    assert "GiB of memory" in (tmp_path / "log").read_text()


def test_a_network_scores_one_row_at_a_time(service: TrialService, tmp_path: Path) -> None:
    folder = service.folder.parent
    he(
        *("compile", folder / "model.onnx", "--sample", folder / "sample.csv", "--features", "a,b,c", "--single"),
        *("--agreement", "0.95", "--out", tmp_path / "model"),
    )
    public = read_public(tmp_path / "model")
    assert public.kind.name == "diagonal"
    lattice = SealLattice.generate(public.plan.parameters)
    with (
        trial_service(tmp_path / "model", tmp_path / "service", rows=10) as single,
        single.connect("client") as connection,
    ):
        client = ScoringClient(connection, lattice)
        rows = sample(3)
        found = client.score(rows)
        assert connection.rows_left(client.keys) == 7
        with pytest.raises(BudgetError):
            client.score(sample(8))
    assert np.abs(found - plain(rows)).max() < 0.5
