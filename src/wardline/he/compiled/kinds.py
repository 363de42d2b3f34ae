"""Kinds of compiled models behind one seam: what a plan, a client and a server of each kind know how to do.

A kind is one line in `KINDS` and up to three modules, which are imported when they are first needed: what anybody knows
(plans as JSON, shapes of ciphertexts), what a client does (it may meet a library that holds keys), and what a server
does (it never does). They are named and not imported here, so that neither side brings the other's.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, cast

import numpy as np
import numpy.typing as npt

from wardline.he.ciphertext import SEED_BYTES, Ciphertext, Form, SeededColumns, SeededKeys
from wardline.he.frames.layout import HEADER_BYTES
from wardline.he.frames.session import Limits
from wardline.he.kernels.transform import galois_element
from wardline.he.parameters import Parameters
from wardline.he.ranges import OutOfRange

if TYPE_CHECKING:
    from wardline.he.compiled.evaluator import Evaluator
    from wardline.he.compiled.public_model import PublicModel

Floats = npt.NDArray[np.float64]

_FRAME_SLACK = 4096  # header, table, description and tag of a frame take a few hundred bytes


class Plan(Protocol):
    """What both sides know of how a model is computed; every kind has a class of its own."""

    @property
    def parameters(self) -> Parameters:
        """Of the encryption."""
        ...

    @property
    def inputs(self) -> int:
        """Numbers of a row."""
        ...

    @property
    def outputs(self) -> int:
        """Numbers that a row gets."""
        ...

    @property
    def rows(self) -> int:
        """Rows of a full batch."""
        ...

    @property
    def step(self) -> float:
        """What outputs are rounded to."""
        ...

    @property
    def error(self) -> float:
        """Predicted standard deviation of an output's error."""
        ...

    @property
    def worst(self) -> float:
        """Bound of an output's error for rows within their ranges."""
        ...

    @property
    def upload_bytes(self) -> int:
        """Of a batch."""
        ...

    @property
    def reply_bytes(self) -> int:
        """Of a batch."""
        ...

    def memory_bytes(self, threads: int = 1) -> int:
        """That a server takes at most for a batch beside its upload."""
        ...

    def explain(self) -> str:
        """In words and figures."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """What the ciphertexts of one frame are like.

    Attributes:
        ciphertexts: how many.
        limbs: of each.
        form: of each.
        scale: of each.
        dropped_bits: that are left out, in an upload by coefficients.
    """

    ciphertexts: int
    limbs: int
    form: Form
    scale: float = 1.0
    dropped_bits: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Keys:
    """Which keys a server needs beside the public one; it takes these and no others.

    Attributes:
        relinearisation: whether it multiplies ciphertexts.
        steps: by which it rotates slots.
    """

    relinearisation: bool = False
    steps: tuple[int, ...] = ()

    def elements(self, degree: int) -> tuple[int, ...]:
        """The Galois elements of the steps in a ring, rising."""
        return tuple(sorted(galois_element(step, degree) for step in self.steps))


class PublicKind(Protocol):
    """What anybody knows how to do with plans of a kind."""

    def to_json(self, plan: Any) -> dict[str, Any]:
        """A plan as JSON values."""
        ...

    def from_json(self, value: object) -> Plan:
        """Read `to_json` back, from whomever it comes.

        Raises:
            ValueError, TypeError, OverflowError, IntegrityError: for what it would not have written, and for numbers
                with which a client would take more memory than `Limits` or say more than it should.
        """
        ...

    def columns(self, plan: Any) -> Shape:
        """Of a batch that goes up."""
        ...

    def replies(self, plan: Any) -> Shape:
        """Of the answer to it; all have two parts."""
        ...

    def keys(self, plan: Any) -> Keys:
        """That the server needs."""
        ...

    def charged(self, plan: Any, rows: int) -> int:
        """How many rows an answer to so many tells of."""
        ...

    def outside(self, plan: Any, rows: Floats) -> int:
        """How many rows have a feature outside of its range."""
        ...

    def describe_inputs(self, plan: Any, names: Sequence[str]) -> list[str]:
        """What the plan says of each feature, a line each."""
        ...

    def determined_by(self, plan: Any) -> str:
        """How many scores give the model away, in a sentence."""
        ...


class ClientKind(Protocol):
    """What a client does with rows and answers: a module with these functions, usually the kind's own `rows`."""

    def encrypt_rows(
        self, lattice: Any, plan: Any, rows: Floats, *, out_of_range: OutOfRange = "clip"
    ) -> Iterator[SeededColumns]:
        """Rows as batches of columns; all rows are looked at before the first is encrypted."""
        ...

    def decrypt_outputs(self, lattice: Any, plan: Any, replies: Sequence[Sequence[Ciphertext]], *, rows: int) -> Floats:
        """Rounded outputs [rows, outputs]."""
        ...

    def unsafe_raw_outputs(
        self, lattice: Any, plan: Any, replies: Sequence[Sequence[Ciphertext]], *, rows: int
    ) -> Floats:
        """Outputs with their noise, for the owner of the key alone."""
        ...


class ServerKind(Protocol):
    """What the owner of a model does with its secret part."""

    def evaluator(self, public: PublicModel, secret: Any) -> Evaluator:
        """Computes on ciphertexts."""
        ...

    def pack(self, secret: Any) -> bytes:
        """The secret part, after the magic and the salt of its file."""
        ...

    def packed_bytes(self, plan: Any) -> int:
        """The length of `pack` at most."""
        ...

    def unpack(self, content: bytes, plan: Any) -> Any:
        """Read `pack` back; raises `ValueError` for what does not fit the plan."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One kind.

    Attributes:
        name: in the public part, and in the magic of the server's file.
        plan: module and class of its plans.
        public_module: has `PUBLIC`, a `PublicKind`.
        client_module: is itself a `ClientKind`.
        server_module: has `SERVER`, a `ServerKind`.
    """

    name: str
    plan: str
    public_module: str
    client_module: str
    server_module: str

    @property
    def public(self) -> PublicKind:
        """What anybody knows."""
        found: PublicKind = importlib.import_module(self.public_module).PUBLIC
        return found

    @property
    def client(self) -> ClientKind:
        """The client's side."""
        found: Any = importlib.import_module(self.client_module)
        return cast(ClientKind, found)

    @property
    def server(self) -> ServerKind:
        """The server's side."""
        found: ServerKind = importlib.import_module(self.server_module).SERVER
        return found

    def make_keys(self, lattice: Any, plan: Any) -> SeededKeys:
        """Fresh public keys for the server, as many as it needs."""
        needed = self.public.keys(plan)
        keys: SeededKeys = lattice.evaluation_keys(relinearisation=needed.relinearisation, steps=needed.steps)
        return keys


KINDS: tuple[Kind, ...] = (
    Kind(
        name="linear",
        plan="wardline.he.linear.plan.LinearPlan",
        public_module="wardline.he.compiled.linear_kind",
        client_module="wardline.he.linear.rows",
        server_module="wardline.he.compiled.evaluator",
    ),
    Kind(
        name="network",
        plan="wardline.he.network.plan.NetworkPlan",
        public_module="wardline.he.compiled.network_kind",
        client_module="wardline.he.network.rows",
        server_module="wardline.he.compiled.network_evaluator",
    ),
    Kind(
        name="forest",
        plan="wardline.he.forest.plan.ForestPlan",
        public_module="wardline.he.compiled.forest_kind",
        client_module="wardline.he.forest.rows",
        server_module="wardline.he.compiled.forest_evaluator",
    ),
    Kind(
        name="diagonal",
        plan="wardline.he.diagonal.plan.DiagonalPlan",
        public_module="wardline.he.compiled.diagonal_kind",
        client_module="wardline.he.diagonal.rows",
        server_module="wardline.he.compiled.diagonal_kind",
    ),
)
"""All kinds. Another one is another entry."""


def kind_named(name: object) -> Kind | None:
    """The kind of this name, if there is one."""
    return next((kind for kind in KINDS if kind.name == name), None)


def kind_of(plan: object) -> Kind:
    """The kind that a plan is of.

    Raises:
        TypeError: if it is of none.
    """
    name = f"{type(plan).__module__}.{type(plan).__qualname__}"
    found = next((kind for kind in KINDS if kind.plan == name), None)
    if found is None:
        raise TypeError(f"{type(plan).__name__} is no plan of a compiled model")
    return found


def limits_of(kind: Kind, plan: Plan) -> Limits:
    """What a reader of this plan's frames has to take at most, and little more."""
    parameters, public = plan.parameters, kind.public
    columns, replies, keys = public.columns(plan), public.replies(plan), public.keys(plan)

    def polynomial(primes: Sequence[int]) -> int:
        return sum(prime.bit_length() for prime in primes) * parameters.degree // 8 + len(primes)

    switching = len(parameters.moduli) * (SEED_BYTES + polynomial(parameters.primes))
    most = max(
        columns.ciphertexts * (SEED_BYTES + polynomial(parameters.moduli[: columns.limbs])),
        2 * replies.ciphertexts * polynomial(parameters.moduli[: replies.limbs]),
        2 * polynomial(parameters.moduli) + (keys.relinearisation + len(keys.steps)) * switching,
    )
    return Limits(
        frame_bytes=HEADER_BYTES + most + _FRAME_SLACK,
        ciphertexts=max(columns.ciphertexts, replies.ciphertexts),
        galois_keys=max(len(keys.steps), 1),
    )


def keys_bytes(kind: Kind, plan: Plan) -> int:
    """What a client's keys take in a server's memory: 4 bytes a residue, with all seeds drawn out."""
    degree, limbs, keys = plan.parameters.degree, len(plan.parameters.moduli), kind.public.keys(plan)
    return 4 * degree * (2 * limbs + (keys.relinearisation + len(keys.steps)) * 2 * limbs * (limbs + 1))


def range_lines(plan: Any, names: Sequence[str]) -> list[str]:
    """Ranges of a plan's features."""
    ends = zip(names, plan.centre - plan.half_width, plan.centre + plan.half_width, strict=True)
    return [f"{name}: {low:.6g} to {high:.6g}" for name, low, high in ends]
