"""Ten thousand hostile calls to the scoring service: each is refused cleanly, charges nothing, and leaves it as it was.

The strongest attacker that the service has is a client with a certificate and a session of its own, so most broken
frames here are tagged anew after they were broken. All cases are drawn from a seed.
"""

from __future__ import annotations

import io
import json
import logging
import socket
import struct
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pytest

pytest.importorskip("tenseal")
pytest.importorskip("numba")
pytest.importorskip("grpc")

import grpc

from wardline.core import IntegrityError
from wardline.he.ciphertext import SeededColumns
from wardline.he.compiled.compiling import compile_model
from wardline.he.compiled.folder import write_model
from wardline.he.compiled.kinds import kind_of
from wardline.he.compiler.layers import Affine, Polynomial
from wardline.he.compiler.program import Meaning, Program
from wardline.he.forest.reading import read_forest
from wardline.he.frames.columns import read_columns, write_columns
from wardline.he.frames.evaluation_keys import keys_digest, write_evaluation_keys
from wardline.he.frames.layout import HEADER_BYTES
from wardline.he.frames.replies import read_replies
from wardline.he.frames.session import TAG_BYTES, Binding, Session, unsafe_session_secret
from wardline.he.parameters import Parameters, find_primes
from wardline.he.seal.bridge import SealLattice
from wardline.he.seal.keys import unsafe_export_residues
from wardline.serve.scoring.admission import ServiceLimits
from wardline.serve.scoring.certificates import TlsFiles, make_development_certificates
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
from wardline.serve.scoring.refusals import Refusal
from wardline.serve.scoring.server import EventLog, ScoringServer
from wardline.serve.scoring.service import Allowance, Scoring

ON_THE_OBJECT, ON_THE_SOCKET, OF_OTHER_KINDS = 8000, 2200, 200
EVERY = 500
BUDGET = 50_000
ROWS = 4
TABLE = struct.calcsize("<IQ")
REQUEST = range(80, 96)  # in a frame's header


@dataclass(frozen=True)
class Case:
    """A call and the reasons for which it may be refused."""

    name: str
    method: str
    messages: tuple[bytes, ...]
    reasons: frozenset[str]
    client: str = "alice"


class Transport(Protocol):
    """Where calls go."""

    def call(self, client: str, method: str, messages: Sequence[bytes]) -> tuple[str, bytes]:
        """Why it was refused, or nothing; and what was said."""


@dataclass
class OnTheObject:
    """What stands behind the socket. Whatever is neither a refusal nor an integrity error ends the test."""

    scoring: Scoring

    def call(self, client: str, method: str, messages: Sequence[bytes]) -> tuple[str, bytes]:
        try:
            match method:
                case "OpenSession":
                    return "", self.scoring.open_session(client, messages[0])
                case "UploadKeys":
                    return "", self.scoring.upload_keys(client, iter(messages))
                case _:
                    return "", b"".join(self.scoring.score(client, iter(messages), waited_for=lambda: True))
        except Refusal as refusal:
            return refusal.reason.value, refusal.message.encode()
        except IntegrityError as error:
            return "malformed", str(error).encode()


@dataclass
class OnTheSocket:
    """gRPC under mutual TLS."""

    channels: dict[str, Any]

    def call(self, client: str, method: str, messages: Sequence[bytes]) -> tuple[str, bytes]:
        channel, path = self.channels[client], f"/{SERVICE}/{method}"
        try:
            match method:
                case "OpenSession":
                    return "", channel.unary_unary(path)(messages[0], timeout=20)
                case "UploadKeys":
                    return "", channel.stream_unary(path)(iter(messages), timeout=20)
                case _:
                    return "", b"".join(channel.stream_stream(path)(iter(messages), timeout=20))
        except grpc.RpcError as error:
            code = error.code()
            assert code not in (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN), (code, method)
            trailing = error.trailing_metadata() or ()
            reasons = [str(value) for key, value in trailing if key == REASON_KEY]
            said = str(error.details()).encode()
            # gRPC itself refuses messages that are larger than any that is taken.
            return (reasons or ["grpc " + code.name])[0], said


@dataclass
class Attacked:
    """A model in service, with a client's material for making good calls and bad ones."""

    public: Any
    lattice: SealLattice
    scoring: Scoring
    meter: RowMeter
    truth: Callable[[np.ndarray], np.ndarray]
    rows: np.ndarray
    transport: Transport
    heard: set[bytes] = field(default_factory=set)
    charged: int = 0
    keys: Any = None
    session: Session = field(init=False)
    other: Session = field(init=False)

    def __post_init__(self) -> None:
        self.keys = kind_of(self.public.plan).make_keys(self.lattice, self.public.plan)
        self.session, self.other = self.opened(), self.opened()

    def opened(self) -> Session:
        asked = OpenSession(model=self.public.digest, keys=keys_digest(self.keys)).to_bytes()
        reason, answer = self.transport.call("alice", "OpenSession", [asked])
        assert reason == "", answer
        session = Session(SessionOpened.from_bytes(answer).secret)
        reason, answer = self.transport.call(
            "alice", "UploadKeys", [UploadKeys(session=session.id).to_bytes(), *chunks(self.keys_frame(session))]
        )
        assert reason == "", answer
        return session

    def keys_frame(self, session: Session) -> bytes:
        return write_evaluation_keys(self.keys, session=session, binding=Binding.fresh())

    def columns(self, rows: np.ndarray) -> SeededColumns:
        kind = kind_of(self.public.plan)
        (found,) = kind.client.encrypt_rows(self.lattice, self.public.plan, rows, out_of_range="clip")
        return found

    def frame(self, columns: SeededColumns, binding: Binding, session: Session | None = None) -> bytes:
        dropped = self.public.columns.dropped_bits
        return write_columns(columns, session=session or self.session, binding=binding, dropped_bits=dropped)

    def header(self, binding: Binding, *, session: Session | None = None, rows: int = ROWS) -> bytes:
        named = (session or self.session).id
        return Score(session=named, model=self.public.digest, request=binding.request, rows=rows).to_bytes()

    def binding(self) -> Binding:
        return Binding.fresh(model=self.public.digest)

    def scores_are_right(self) -> None:
        """The service answers as ever, and the account shows what was charged and no more."""
        binding, rows = self.binding(), self.rows[:ROWS]
        frame = self.frame(self.columns(rows), binding)
        reason, answer = self.transport.call("alice", "Score", [self.header(binding), *chunks(frame)])
        assert reason == "", answer
        plan, limits = self.public.plan, self.public.limits
        _, replies = read_replies(
            answer, parameters=plan.parameters, session=self.session, limits=limits, binding=binding
        )
        found = kind_of(plan).client.decrypt_outputs(self.lattice, plan, [replies], rows=ROWS)
        assert np.abs(found - self.truth(rows)).max() <= plan.worst + plan.step
        self.charged += self.public.charged(ROWS)
        assert self.meter.spent("alice", model=self.public.digest) == self.charged
        assert self.meter.spent("mallory", model=self.public.digest) == 0


def chunks(frame: bytes) -> list[bytes]:
    return [frame[start : start + CHUNK_BYTES] for start in range(0, len(frame), CHUNK_BYTES)] or [b""]


def retagged(session: Session, content: bytes) -> bytes:
    """The tag of a client that breaks its own frames."""
    return content + session.tag(content)


class Hostile:
    """Draws cases. Each method gives one; what it breaks is drawn, that it is broken is certain."""

    def __init__(self, attacked: Attacked, seed: int) -> None:
        self.attacked = attacked
        self.random = np.random.default_rng(seed)
        self.columns = attacked.columns(attacked.rows[:ROWS])
        self.known = attacked.binding()
        self.good = attacked.frame(self.columns, self.known)
        self.good_keys = attacked.keys_frame(attacked.session)
        self.replay = self._charged_once()
        self.foreign = self._foreign()

    def _charged_once(self) -> tuple[bytes, ...]:
        attacked, binding = self.attacked, self.attacked.binding()
        call = (attacked.header(binding), *chunks(attacked.frame(self.columns, binding)))
        assert attacked.transport.call("alice", "Score", call)[0] == ""
        attacked.charged += attacked.public.charged(ROWS)
        return call

    def _foreign(self) -> list[SeededColumns]:
        """Good ciphertexts of other parameters."""
        found = []
        for degree, sizes in ((4096, (25, 26, 27)), (2048, (26, 27))):
            moduli = find_primes(degree, sizes)
            bfv = Parameters(scheme="bfv", degree=degree, moduli=moduli, plain_modulus=1 << 20)
            ckks = Parameters(scheme="ckks", degree=degree, moduli=moduli)
            count = len(self.columns)
            found.append(SealLattice.generate(bfv).encrypt_coefficients(np.zeros((count, 8), dtype=np.int64)))
            found.append(SealLattice.generate(ckks).encrypt_slots(np.zeros((count, 8)), scale=2.0**20))
        return found

    def bound(self, name: str, frame: bytes, *reasons: str, binding: Binding | None = None) -> Case:
        header = self.attacked.header(binding or self.known)
        return Case(name, "Score", (header, *chunks(frame)), frozenset(reasons or ("malformed",)))

    def keyed(self, name: str, frame: bytes, *reasons: str) -> Case:
        header = UploadKeys(session=self.attacked.session.id).to_bytes()
        return Case(name, "UploadKeys", (header, *chunks(frame)), frozenset(reasons or ("malformed",)))

    def either(self, name: str, change: Callable[[bytes], bytes]) -> Case:
        """The same done to columns, or now and then to keys."""
        if self.random.random() < 0.2:
            return self.keyed(f"{name} keys", change(self.good_keys))
        return self.bound(name, change(self.good))

    def truncated(self) -> Case:
        def cut(frame: bytes) -> bytes:
            # Short ones first: the header is where most code is.
            at = int(self.random.integers(len(frame)) if self.random.random() < 0.5 else self.random.integers(400))
            return frame[:at]

        return self.either("truncated", cut)

    def truncated_and_tagged(self) -> Case:
        def cut(frame: bytes) -> bytes:
            at = int(self.random.integers(len(frame) - TAG_BYTES))
            return retagged(self.attacked.session, frame[:at])

        return self.either("truncated, tagged", cut)

    def flipped(self) -> Case:
        def flip(frame: bytes) -> bytes:
            broken = bytearray(frame)
            for place in self.random.choice(len(frame), size=int(self.random.integers(1, 5)), replace=False):
                broken[place] ^= 1 << int(self.random.integers(8))
            return bytes(broken)

        return self.either("flipped", flip)

    def head_changed_and_tagged(self) -> Case:
        """Header, table of sections and description: every bit of them is looked at.

        But for the request of a frame of keys, which belong to none.
        """

        def change(frame: bytes) -> bytes:
            description = struct.unpack_from("<Q", frame, HEADER_BYTES + 4)[0]
            (sections,) = struct.unpack_from("<I", frame, 20)
            most = HEADER_BYTES + sections * TABLE + description
            broken = bytearray(frame[:-TAG_BYTES])
            places = np.arange(most)
            if frame is self.good_keys:
                places = places[~np.isin(places, REQUEST)]
            for place in self.random.choice(places, size=int(self.random.integers(1, 4)), replace=False):
                broken[place] ^= int(self.random.integers(1, 256))
            return retagged(self.attacked.session, bytes(broken))

        return self.either("head changed, tagged", change)

    def residue_too_large_and_tagged(self) -> Case:
        """A run of ones is above every prime's bound."""
        start = len(self.good) - TAG_BYTES - int(self.random.integers(64, 20_000))
        broken = bytearray(self.good[:-TAG_BYTES])
        broken[start : start + 16] = b"\xff" * 16
        return self.bound("residue too large", retagged(self.attacked.session, bytes(broken)))

    def oversized(self) -> Case:
        extra = self.random.bytes(int(self.random.integers(1, 4000)))
        frame = self.good
        match int(self.random.integers(4)):
            case 0:
                frame = self.good + extra
            case 1:
                frame = retagged(self.attacked.session, self.good[:-TAG_BYTES] + extra)
            case 2:  # it announces more than is taken
                broken = bytearray(self.good[:-TAG_BYTES])
                limit = self.attacked.public.limits.frame_bytes
                struct.pack_into("<Q", broken, 24, int(self.random.integers(limit + 1, 1 << 62)))
                frame = retagged(self.attacked.session, bytes(broken))
            case _:  # a full message where the last piece should be
                frame = self.good + bytes(CHUNK_BYTES - len(self.good) % CHUNK_BYTES)
        return self.bound("oversized", frame)

    def of_other_parameters(self) -> Case:
        columns = self.foreign[int(self.random.integers(len(self.foreign)))]
        frame = write_columns(columns, session=self.attacked.session, binding=self.known)
        if self.random.random() < 0.5:  # with the digest of the right ones
            right = bytearray(frame[:-TAG_BYTES])
            right[32:64] = self.good[32:64]
            frame = retagged(self.attacked.session, bytes(right))
        return self.bound("other parameters", frame)

    def fewer_columns(self) -> Case:
        columns = SeededColumns(
            parameters=self.columns.parameters,
            seeds=self.columns.seeds[:1],
            c0=self.columns.c0[:1],
            form=self.columns.form,
            scale=self.columns.scale,
        )
        return self.bound("fewer columns", self.attacked.frame(columns, self.known))

    def replayed(self) -> Case:
        if self.random.random() < 0.5:
            return Case("replayed", "Score", self.replay, frozenset({"replay"}))
        # a frame that was recorded, under the name of a new request
        header = self.attacked.header(self.attacked.binding())
        return Case("replayed", "Score", (header, *self.replay[1:]), frozenset({"malformed"}))

    def another_part(self) -> Case:
        parts = int(self.random.integers(2, 50))
        part = int(self.random.integers(parts))
        binding = Binding(request=self.known.request, model=self.known.model, part=part, parts=parts)
        return self.bound("another part", self.attacked.frame(self.columns, binding))

    def of_another_session(self) -> Case:
        attacked, binding = self.attacked, self.attacked.binding()
        match int(self.random.integers(4)):
            case 0:  # a frame of one session under the name of the other
                frame, session = self.good, attacked.other
                header = attacked.header(self.known, session=session)
                return Case("cross session", "Score", (header, *chunks(frame)), frozenset({"malformed"}))
            case 1:  # somebody else with all that belongs to a session
                header = attacked.header(binding)
                call = (header, *chunks(attacked.frame(self.columns, binding)))
                return Case("another client", "Score", call, frozenset({"session"}), client="mallory")
            case 2:
                header = UploadKeys(session=attacked.session.id).to_bytes()
                call = (header, *chunks(self.good_keys))
                return Case("another client", "UploadKeys", call, frozenset({"session"}), client="mallory")
            case _:  # a session that there is not
                stranger = Session.generate()
                call = (attacked.header(binding, session=stranger), *chunks(self.good))
                return Case("unknown session", "Score", call, frozenset({"session"}))

    def header_changed(self) -> Case:
        """Bytes of the first message; what still says the same request is drawn again."""
        good = self.attacked.header(self.known)
        while True:
            broken = bytearray(good)
            for _ in range(int(self.random.integers(1, 4))):
                match int(self.random.integers(3)):
                    case 0:
                        broken[int(self.random.integers(len(broken)))] = int(self.random.integers(256))
                    case 1:
                        del broken[int(self.random.integers(len(broken)))]
                    case _:
                        broken.insert(int(self.random.integers(len(broken) + 1)), int(self.random.integers(256)))
            try:
                said = Score.from_bytes(bytes(broken))
            except IntegrityError:
                break
            if (said.session, said.model, said.request) != (self.attacked.session.id, *self.names):
                break
        return Case(
            "header changed",
            "Score",
            (bytes(broken), *chunks(self.good)),
            frozenset({"malformed", "session", "model", "too-large"}),
        )

    @property
    def names(self) -> tuple[bytes, bytes]:
        return self.known.model, self.known.request

    def no_message_at_all(self) -> Case:
        """Things that are no message: lists, numbers, texts, other types in fields, depth, other encodings."""
        good = json.loads(self.attacked.header(self.known))
        name = ["model", "request", "rows", "session"][int(self.random.integers(4))]
        values = [None, True, -1, 0, 1.5, 1e300, 1 << 70, "", "0" * 31, "G" * 32, [], {}, [[]], {"a": 1}, "\ud7ff" * 9]
        changed = {**good, name: values[int(self.random.integers(len(values)))]}
        spelt = json.dumps(changed, separators=(",", ":"), sort_keys=True).encode()
        nothings = [
            *(b"", b"{}", b"[]", b"null", b"0", b'"', b"{", b"\xff\xfe{}", b"[" * 4000, b"{" * 4000),
            json.dumps(good).encode(),  # with spaces
            json.dumps({**good, "more": 1}, separators=(",", ":"), sort_keys=True).encode(),
            b'{"model":1,' + self.attacked.header(self.known)[1:],  # a key twice
            bytes(self.random.integers(0, 256, size=int(self.random.integers(1, 300)), dtype=np.uint8)),
            b" " * 5000,
            spelt,
            spelt,
            spelt,
        ]
        message = nothings[int(self.random.integers(len(nothings)))]
        method = ["Score", "UploadKeys", "OpenSession"][int(self.random.integers(3))]
        rest = () if method == "OpenSession" else tuple(chunks(self.good))
        return Case(
            "no message", method, (message, *rest), frozenset({"malformed", "session", "model"}), client="alice"
        )

    def stream_of_other_pieces(self) -> Case:
        header, frame = self.attacked.header(self.known), self.good
        at = int(self.random.integers(1, len(frame)))
        streams: list[tuple[bytes, ...]] = [
            (header,),
            (header, b""),
            (header, frame[:at], frame[at:]) if len(frame) <= CHUNK_BYTES else (header, frame[:at], b""),
            (header, header, *chunks(frame)),
            (*chunks(frame), header),
            (header, self.random.bytes(at % 5000)),
            (header, *chunks(self.good_keys)),
            (header, bytes(CHUNK_BYTES), *chunks(frame)),
        ]
        which = int(self.random.integers(len(streams)))
        return Case("other pieces", "Score", streams[which], frozenset({"malformed"}))

    def too_many_rows(self) -> Case:
        rows, reason = [(1 << 21, "too-large"), ((1 << 32) - 1, "too-large"), (BUDGET * 2, "budget")][
            int(self.random.integers(3))
        ]
        binding = self.attacked.binding()
        if reason == "budget":
            parts = -(-rows // self.attacked.public.plan.rows)
            binding = Binding(request=binding.request, model=binding.model, part=0, parts=parts)
        call = (self.attacked.header(binding, rows=rows), *chunks(self.attacked.frame(self.columns, binding)))
        return Case("too many rows", "Score", call, frozenset({reason}))

    def of_another_model(self) -> Case:
        model = self.random.bytes(32)
        if self.random.random() < 0.5:
            asked = OpenSession(model=model, keys=keys_digest(self.attacked.keys)).to_bytes()
            return Case("another model", "OpenSession", (asked,), frozenset({"model"}))
        header = Score(session=self.attacked.session.id, model=model, request=self.known.request, rows=ROWS).to_bytes()
        return Case("another model", "Score", (header, *chunks(self.good)), frozenset({"model"}))

    def draw(self, count: int) -> Iterator[Case]:
        kinds: list[tuple[Callable[[], Case], float]] = [
            (self.truncated, 12),
            (self.truncated_and_tagged, 8),
            (self.flipped, 16),
            (self.head_changed_and_tagged, 20),
            (self.residue_too_large_and_tagged, 4),
            (self.oversized, 6),
            (self.of_other_parameters, 4),
            (self.fewer_columns, 1),
            (self.replayed, 5),
            (self.another_part, 2),
            (self.of_another_session, 6),
            (self.header_changed, 8),
            (self.no_message_at_all, 6),
            (self.stream_of_other_pieces, 4),
            (self.too_many_rows, 1),
            (self.of_another_model, 2),
        ]
        weights = np.array([weight for _, weight in kinds]) / sum(weight for _, weight in kinds)
        for which in self.random.choice(len(kinds), size=count, p=weights):
            yield kinds[which][0]()


def attack(attacked: Attacked, count: int, *, seed: int, oversize: str = "malformed") -> Counter[str]:
    """All cases, one after the other; how many there were of each kind."""
    found: Counter[str] = Counter()
    hostile = Hostile(attacked, seed)
    attacked.scores_are_right()
    for number, case in enumerate(hostile.draw(count), 1):
        reason, said = attacked.transport.call(case.client, case.method, case.messages)
        reasons = case.reasons | ({oversize} if max(map(len, case.messages), default=0) > CHUNK_BYTES else set())
        assert reason in reasons, (case.name, case.method, reason, said[:200])
        attacked.heard.add(said)
        found[case.name] += 1
        if number % EVERY == 0 or number == count:
            attacked.scores_are_right()
    return found


def needles(attacked: Attacked) -> list[bytes]:
    """Secrets as they might be spelt: the client's key, its rows, both sessions' keys."""
    residues = unsafe_export_residues(attacked.lattice.key)
    found = [attacked.lattice.key.id.encode()]
    for start in (0, 100, 2000):
        run = residues[0, start : start + 8]
        found += [run.astype("<u4").tobytes(), run.astype("<u8").tobytes(), run.astype("<u4").tobytes().hex().encode()]
    for session in (attacked.session, attacked.other):
        secret = unsafe_session_secret(session)[16:]
        found += [secret, secret.hex().encode()]
    for value in attacked.rows[:ROWS].reshape(-1):
        found += [value.tobytes(), f"{value:.6f}".encode()]
    return found


LINEAR = Affine(weights=np.array([[0.6, -1.1]]), offset=np.array([0.2]), name="linear")
MEANING = Meaning(gives="decision", classes=("no", "yes"), link="sigmoid")


def sample() -> np.ndarray:
    return np.random.default_rng(8).normal(size=(400, 2))


@pytest.fixture
def account(tmp_path: Path) -> Iterator[RowMeter]:
    meter = RowMeter(tmp_path / "server" / "rows.sqlite")
    yield meter
    meter.close()


def service(compiled: Any, meter: RowMeter) -> Scoring:
    limits = ServiceLimits(calls_per_second=1e6, burst=10**6)
    scoring = Scoring(compiled.evaluator, meter, allowance=Allowance(rows=BUDGET), limits=limits)
    scoring.warm_up()
    return scoring


def test_thousands_of_hostile_calls_are_refused_and_charge_nothing(account: RowMeter) -> None:
    program = Program(input_shape=(2,), layers=(LINEAR,), meaning=MEANING)
    compiled = compile_model(program, sample())
    scoring = service(compiled, account)
    lattice = SealLattice.generate(compiled.public.plan.parameters)
    inside = np.clip(sample(), -1, 1)
    attacked = Attacked(compiled.public, lattice, scoring, account, program.evaluate, inside, OnTheObject(scoring))
    found = attack(attacked, ON_THE_OBJECT, seed=1)
    assert found.total() == ON_THE_OBJECT
    assert min(found.values()) >= 40, found
    secrets = needles(attacked)
    assert not any(needle in said for needle in secrets for said in attacked.heard)
    scoring.close()


def network() -> tuple[Any, Callable[[np.ndarray], np.ndarray]]:
    hidden = Affine(weights=np.array([[0.6, -1.1], [0.4, 0.9]]), offset=np.array([0.2, -0.3]), name="hidden")
    square = Polynomial(coefficients=(0.0, 0.0, 1.0), units=2)
    program = Program(input_shape=(2,), layers=(hidden, square, LINEAR), meaning=MEANING)
    return compile_model(program, sample(), agreement=0.99), program.evaluate


def forest() -> tuple[Any, Callable[[np.ndarray], np.ndarray]]:
    trees = pytest.importorskip("sklearn.tree")
    rows = sample()
    tree = trees.DecisionTreeClassifier(max_depth=3, random_state=0).fit(rows, rows.prod(axis=1) > 0)
    return compile_model(tree, rows), read_forest(tree).evaluate


@pytest.mark.parametrize(("seed", "make"), [(2, network), (7, forest)], ids=["network", "forest"])
def test_other_kinds_of_models_refuse_them_too(
    account: RowMeter, seed: int, make: Callable[[], tuple[Any, Callable[[np.ndarray], np.ndarray]]]
) -> None:
    compiled, truth = make()
    scoring = service(compiled, account)
    lattice = SealLattice.generate(compiled.public.plan.parameters)
    inside = np.clip(sample(), -1, 1)
    attacked = Attacked(compiled.public, lattice, scoring, account, truth, inside, OnTheObject(scoring))
    found = attack(attacked, OF_OTHER_KINDS, seed=seed)
    assert found.total() == OF_OTHER_KINDS
    secrets = needles(attacked)
    assert not any(needle in said for needle in secrets for said in attacked.heard)
    scoring.close()


def test_a_service_that_looks_less_closely_is_found_out(account: RowMeter, monkeypatch: pytest.MonkeyPatch) -> None:
    """The control: frames of other requests are taken, or rows charged before anything was looked at."""
    program = Program(input_shape=(2,), layers=(LINEAR,), meaning=MEANING)
    compiled = compile_model(program, sample())
    scoring = service(compiled, account)
    lattice = SealLattice.generate(compiled.public.plan.parameters)
    attacked = Attacked(
        compiled.public, lattice, scoring, account, program.evaluate, np.clip(sample(), -1, 1), OnTheObject(scoring)
    )

    def taking_all(*words: Any, binding: Binding, **more: Any) -> Any:
        return read_columns(*words, **more)

    def charging_early(client: str, messages: Any, **more: Any) -> Any:
        request = Binding.fresh().request
        account.charge(client, model=attacked.public.digest, request=request, rows=1, allowance=BUDGET)
        return Scoring.score(scoring, client, messages, **more)

    with monkeypatch.context() as patch:
        patch.setattr(f"{Scoring.__module__}.read_columns", taking_all)
        with pytest.raises(AssertionError, match="'Score', ''"):
            attack(attacked, 400, seed=5)
    attacked.charged = account.spent("alice", model=attacked.public.digest)
    with monkeypatch.context() as patch:
        patch.setattr(scoring, "score", charging_early)
        with pytest.raises(AssertionError, match="spent"):
            attack(attacked, 50, seed=6)
    scoring.close()


def test_over_the_socket_no_call_fails_the_service_or_leaves_a_trace_of_secrets(
    account: RowMeter, tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    program = Program(input_shape=(2,), layers=(LINEAR,), meaning=MEANING)
    compiled = compile_model(program, sample())
    write_model(tmp_path / "server" / "model", compiled.public, compiled.weights)
    make_development_certificates(tmp_path / "tls", clients=("alice", "mallory"))

    def tls(name: str) -> TlsFiles:
        folder = tmp_path / "tls"
        return TlsFiles(
            authority=folder / "authority.pem", certificate=folder / f"{name}.pem", key=folder / f"{name}.key"
        )

    scoring = service(compiled, account)
    log = (tmp_path / "server" / "log").open("w+")
    server = ScoringServer(scoring, "localhost:0", tls=tls("server"), log=EventLog(log))
    channels = {}
    for name in ("alice", "mallory"):
        pair = tls(name).read()
        credentials = grpc.ssl_channel_credentials(pair.authority, pair.key, pair.certificate)
        channels[name] = grpc.secure_channel(f"localhost:{server.port}", credentials)
    lattice = SealLattice.generate(compiled.public.plan.parameters)
    inside = np.clip(sample(), -1, 1)
    transport = OnTheSocket(channels)
    with caplog.at_level(logging.DEBUG):
        attacked = Attacked(compiled.public, lattice, scoring, account, program.evaluate, inside, transport)
        found = attack(attacked, ON_THE_SOCKET, seed=3, oversize="grpc RESOURCE_EXHAUSTED")
        # and what is no gRPC at all
        generator = np.random.default_rng(4)
        for _ in range(20):
            with socket.create_connection(("localhost", server.port), timeout=5) as raw:
                raw.sendall(generator.bytes(int(generator.integers(1, 2000))))
        assert transport.call("alice", "Nothing", [b"x"])[0] == "grpc UNIMPLEMENTED"
        attacked.scores_are_right()
    assert found.total() == ON_THE_SOCKET
    assert ON_THE_OBJECT + ON_THE_SOCKET >= 10_000
    for channel in channels.values():
        channel.close()
    server.stop()
    account.close()
    log.flush()
    text = (tmp_path / "server" / "log").read_text()
    log.close()
    told = [json.loads(line) for line in text.splitlines()]
    assert len(told) >= ON_THE_SOCKET
    assert not [one for one in told if one["outcome"].startswith("internal")]
    captured = capfd.readouterr()
    spoken = io.StringIO()
    for record in caplog.records:
        spoken.write(f"{record.getMessage()} {record.exc_info or ''}\n")
    said = b"\n".join(attacked.heard) + f"{captured.out}{captured.err}{spoken.getvalue()}".encode()
    assert b"Traceback" not in said
    contents = [path.read_bytes() for path in (tmp_path / "server").rglob("*") if path.is_file()]
    assert len(contents) >= 4, "the log, the account and both files of the model"
    secrets = needles(attacked)
    assert not any(needle in content for needle in secrets for content in (*contents, said))
    leak = (tmp_path / "leak").write_bytes(unsafe_export_residues(lattice.key).astype("<u4").tobytes())
    assert leak, "the control: a secret that is there is found"
    assert any(needle in (tmp_path / "leak").read_bytes() for needle in secrets)
