"""How one row of a network is computed on few ciphertexts: what both sides know, and what the server alone knows.

With scales S and weights' scales V it goes, as in `wardline.he.network.plan`,

    S0 -> S0 V1 -> (drop) S1 -> S1^2 -> S1^2 V2 -> (drop) S2 -> ... -> reply,

but a ciphertext holds all numbers of a layer in its slots, a square is relinearised at once, and a matrix is a sum of
rotations times plaintexts (see `moves`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from wardline.he.ciphertext import SEED_BYTES
from wardline.he.diagonal.encoding import Integers, polynomials_of, slots_of
from wardline.he.diagonal.moves import Layout, Move, applied, beside, plaintexts, plaintexts_beside
from wardline.he.kernels.modular import reduce_signed
from wardline.he.kernels.transform import to_evaluations
from wardline.he.network.plan import FLOOD_BITS
from wardline.he.network.stages import Floats, Stage
from wardline.he.parameters import MOST_BITS, Parameters
from wardline.he.ranges import scaled_rows

OFFSET_BITS = 48
"""Offsets are rounded to so many bits, and multiplied by a power of two to reach their scale."""

MOST_CIPHERTEXTS = 32
"""That a row is sent in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepPlan:
    """A matrix with the square behind it, as it is computed.

    Attributes:
        name: of the linear map.
        inputs: numbers that it reads.
        outputs: numbers that it gives.
        move: rotations and layouts.
        limbs: that its sums are computed in.
        dropped: primes that are dropped after them.
        group: primes of a digit when keys are switched at this level.
        weight_scale: what its weights were multiplied with before they were rounded.
        scale: of its results, after the drop.
        squared: whether a polynomial of degree 2 follows.
        error: predicted deviation of its results (before the polynomial) that encryption causes, over typical rows; of
            the last one, before noise is added.
        bound: no result of a row within the ranges has more noise, but for a chance of 2^-40.
    """

    name: str
    inputs: int
    outputs: int
    move: Move
    limbs: int
    dropped: int
    group: int
    weight_scale: float
    scale: float
    squared: bool
    error: float
    bound: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DiagonalPlan:
    """What both sides know of a network that is computed row by row. It tells shapes and scales, and no weights.

    Attributes:
        parameters: of the encryption.
        centre, half_width: of each input's calibrated range: [inputs] each.
        ciphertexts: that a row is sent in.
        reads: where the client puts inputs beside weights, the inputs that each first output reads, -1 for none:
            [outputs of the first step, readings]. It tells the geometry of a convolution; of any other matrix it is
            every input in order. None where the first move has a source layout.
        input_scale: of fresh ciphertexts.
        layers: in order.
        reply_limbs: moduli that are left in a reply.
        reply_scale: of a reply before outputs are summed.
        flood_bits: the server's noise is uniform in [-2^flood_bits, 2^flood_bits) at the last layer's scale; None for
            a plan without protection, which only what is called unsafe accepts.
        reach: no output of a row within the ranges is larger in size.
        error: predicted standard deviation of an output's error over rows like the sample's, rounding to `step`
            included.
        worst: no output of a row within the ranges is farther from the exact one, but for a chance of 2^-40.
        step: what outputs are rounded to: a power of two, two to four deviations of the noise.

    Raises:
        ValueError: for layers, layouts or limbs that do not fit each other.
    """

    parameters: Parameters
    centre: Floats
    half_width: Floats
    ciphertexts: int
    reads: npt.NDArray[np.int32] | None
    input_scale: float
    layers: tuple[StepPlan, ...]
    reply_limbs: int
    reply_scale: float
    flood_bits: int | None
    reach: float
    error: float
    worst: float
    step: float

    def __post_init__(self) -> None:
        layers, slots = self.layers, self.parameters.slots
        if not layers or any(one.move.target.slots != slots for one in layers):
            raise ValueError("a network has layers, in the slots of its ring")
        if self.parameters.scheme != "ckks" or not 1 <= self.ciphertexts <= MOST_CIPHERTEXTS:
            raise ValueError(f"a row is sent in 1 to {MOST_CIPHERTEXTS} ciphertexts of CKKS")
        limbs, inputs = len(self.parameters.moduli), len(self.centre)
        source: Layout | None = None
        for index, layer in enumerate(layers):
            move, last = layer.move, index + 1 == len(layers)
            here = move.source
            if layer.limbs != limbs or not 0 <= layer.dropped < limbs or not 1 <= layer.group <= limbs:
                raise ValueError(f"{layer.name} is computed in more or fewer primes than are left")
            ends = layer.squared is not last and move.last is last
            if layer.inputs != inputs or layer.outputs > move.target.size or not ends:
                raise ValueError(f"{layer.name} does not fit the layer before or behind it")
            if here is not None and here.size < inputs:
                raise ValueError(f"{layer.name} has more inputs than its layout has room for")
            if index and (here is None or not _within(here, source)):
                raise ValueError(f"{layer.name} reads slots that the layer before does not fill")
            limbs, inputs, source = limbs - layer.dropped, layer.outputs, move.target
        if not 1 <= self.reply_limbs <= limbs or (
            self.parameters.special is None and (self.steps or self.relinearises)
        ):
            raise ValueError("a reply has more primes than are left, or keys have no prime to be switched in")
        first = layers[0].move
        if (first.source is None) is not (self.reads is not None) or (first.source and self.ciphertexts > 1):
            raise ValueError("either a layout or the readings say where inputs stand")
        if self.reads is not None and (
            self.reads.shape[:1] != (layers[0].outputs,)
            or self.reads.ndim != 2
            or not 1 <= self.reads.shape[1] <= self.ciphertexts * first.parts
            or not -1 <= int(self.reads.min()) <= int(self.reads.max()) < len(self.centre)
        ):
            raise ValueError("an output of the first layer reads inputs that there are not, or more than are sent")

    @property
    def inputs(self) -> int:
        """How many numbers a row has."""
        return len(self.centre)

    @property
    def outputs(self) -> int:
        """How many numbers a row gets."""
        return self.layers[-1].outputs

    @property
    def rows(self) -> int:
        """How many rows a batch has: one."""
        return 1

    def charged(self, rows: int) -> int:
        """How many rows answers to so many tell of: as many.

        An answer holds one number for each output, the number of outputs being rounded up to a power of two.
        """
        return rows

    @property
    def room(self) -> int:
        """Numbers that an answer tells: the outputs, rounded up to a power of two."""
        return self.layers[-1].move.target.size

    @property
    def repeated(self) -> int:
        """Slots that are summed to an output when the answer is cut down to its room."""
        return self.parameters.slots // self.room

    @property
    def relinearises(self) -> bool:
        """Whether the server needs a key to relinearise products."""
        return any(one.squared for one in self.layers)

    @property
    def steps(self) -> tuple[int, ...]:
        """By which slots are rotated: the server needs a Galois key for each."""
        return tuple(sorted(frozenset[int]().union(*(one.move.steps for one in self.layers))))

    @property
    def input_places(self) -> npt.NDArray[np.int32]:
        """Which input each slot of a row's ciphertexts holds, -1 for none: [ciphertexts, slots]."""
        first = self.layers[0].move
        if first.source is None:
            assert self.reads is not None
            return beside(first, self.reads, self.ciphertexts)
        places = first.source.places()
        return np.where(places < self.inputs, places, -1).astype(np.int32)[None]

    @property
    def upload_bytes(self) -> int:
        """Of a row, packed: a seed and c0 for each ciphertext, `ciphertexts (64 + degree bits(moduli) / 8)`."""
        bits = sum(prime.bit_length() for prime in self.parameters.moduli)
        return self.ciphertexts * (SEED_BYTES + self.parameters.degree * bits // 8)

    @property
    def reply_bytes(self) -> int:
        """Of a row, packed: two parts, `2 degree bits(reply moduli) / 8`."""
        bits = sum(prime.bit_length() for prime in self.parameters.moduli[: self.reply_limbs])
        return 2 * self.parameters.degree * bits // 8

    @property
    def keys_bytes(self) -> int:
        """Of the keys as they travel, once, packed.

        They are `2 degree bits(moduli) / 8` for the public key, and for each rotation and for relinearisation, if there
        is any, `moduli (64 + degree bits(all primes) / 8)`.
        """
        parameters = self.parameters
        digits, keys = len(parameters.moduli), len(self.steps) + self.relinearises
        one = sum(prime.bit_length() for prime in parameters.primes) * parameters.degree // 8 + SEED_BYTES
        return keys * digits * one + 2 * parameters.degree * sum(p.bit_length() for p in parameters.moduli) // 8

    @property
    def gathered_keys_bytes(self) -> int:
        """Of the keys as the server keeps them (`keys.gathered`).

        They are `8 degree (limbs + 1) digits` for each rotation of a step, and for each relinearisation.
        """
        total = 0
        for index, layer in enumerate(self.layers):
            keys = len(layer.move.steps) + bool(index and self.layers[index - 1].squared)
            total += keys * -(-layer.limbs // layer.group) * (layer.limbs + 1)
        return 8 * self.parameters.degree * total

    @property
    def plaintexts_bytes(self) -> int:
        """Of the weights as the server keeps them.

        They are `4 degree (limbs + 1)` for each plaintext, `8 degree` for the integers that it was made from, and
        `4 degree limbs` for each step's offset.
        """
        total = 0
        for index, layer in enumerate(self.layers):
            count = layer.move.giants * len(layer.move.babies)
            if index == 0 and layer.move.source is None:
                count = self.ciphertexts
            total += count * (layer.limbs + 3) + layer.limbs
        return 4 * self.parameters.degree * total

    def memory_bytes(self, threads: int = 1) -> int:
        """What the server takes at most for a row beside upload, keys and weights.

        With polynomials of `4 degree` bytes a limb: the ciphertexts in two parts, and in a step its digits, eight
        ciphertexts in all primes, two and a half for each giant step, and for each thread five and a digit.
        """
        most = 0
        for layer in self.layers:
            digits = -(-layer.limbs // layer.group)
            most = max(most, (layer.limbs + 1) * (digits + 16 + 5 * layer.move.giants + 11 * (threads - 1)))
        return 4 * self.parameters.degree * (most + 2 * self.ciphertexts * len(self.parameters.moduli)) + (1 << 20)

    def explain(self) -> str:
        """A few lines for people."""
        parameters = self.parameters
        lines = [
            f"network: {self.inputs} inputs, {len(self.layers)} layers, {self.outputs} outputs; CKKS, one row at a "
            "time by diagonals",
            f"ring {parameters.degree}, {parameters.bits} of {MOST_BITS[parameters.degree]} bits that 128-bit security "
            f"allows, {len(parameters.moduli)} primes; a row in {self.ciphertexts} ciphertexts",
        ]
        level = 0
        for layer in self.layers:
            level += layer.dropped
            move = layer.move
            lines.append(
                f"{layer.name}: {layer.inputs} -> {layer.outputs}{', squared' if layer.squared else ''}; {layer.limbs} "
                f"limbs, {layer.dropped} dropped (level {level}), scale 2^{math.log2(layer.scale):.1f}, weights 2^"
                f"{math.log2(layer.weight_scale):.0f}; {len(move.babies)} baby and {move.giants} giant steps, "
                f"{move.folded} slots folded by {sum(len(one) for one in move.folds)} rotations, {layer.group} primes "
                f"a digit; noise {layer.error:.2g}, never above {layer.bound:.2g}"
            )
        if self.flood_bits is None:
            lines.append("no protection: whoever decrypts an answer can learn about the weights")
        else:
            lines.append(
                f"noise against weight recovery: 2^{self.flood_bits} at the last scale, {FLOOD_BITS} bits above what "
                f"tells of weights; numbers in an answer: {self.room}"
            )
        lines.append(
            f"outputs up to {self.reach:.4g} in steps of {self.step:.2g}; predicted error {self.error:.2g}, never "
            f"above {self.worst:.2g}"
        )
        keys = len(self.steps) + self.relinearises
        lines.append(
            f"upload {self.upload_bytes} bytes a row, reply {self.reply_bytes}; once {keys} keys of "
            f"{self.keys_bytes / 2**20:.0f} MiB together"
        )
        lines.append(
            f"server memory {self.memory_bytes() / 2**20:.0f} MiB, beside {self.plaintexts_bytes / 2**20:.0f} for "
            f"weights and {self.gathered_keys_bytes / 2**20:.0f} for a client's keys"
        )
        return "\n".join(lines)


def _within(here: Layout, there: Layout | None) -> bool:
    """Whether what one layout says is in the slots that another one filled."""
    return there is not None and (here.kind, here.size) == (there.kind, there.size) and here.valid <= there.valid


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SecretStep:
    """A step's plaintexts.

    Attributes:
        coefficients: rounded at the weights' scale, [giants, babies, degree]; without a source [ciphertexts, degree].
        factors: the same in NTT form, modulo the step's primes and the special one: [..., limbs + 1, degree].
        offset: real numbers [slots].
        offset_factor: the same as a plaintext at the scale of the results, [limbs left, degree].
        slope: of the polynomial x^2 + slope x behind; None where there is none.
    """

    coefficients: Integers = field(repr=False)
    factors: npt.NDArray[np.uint32] = field(repr=False)
    offset: Floats = field(repr=False)
    offset_factor: npt.NDArray[np.uint32] = field(repr=False)
    slope: float | None = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DiagonalWeights:
    """The server's half, which never leaves it.

    Attributes:
        stages: matrices and offsets; all else is made from them.
        layers: as they are computed.
    """

    stages: tuple[Stage, ...] = field(repr=False)
    layers: tuple[SecretStep, ...] = field(repr=False)

    @classmethod
    def of(cls, plan: DiagonalPlan, stages: tuple[Stage, ...]) -> DiagonalWeights:
        """The plaintexts of a network's stages, balanced as the plan was made for.

        Raises:
            ValueError: for stages that do not fit the plan.
        """
        if len(stages) != len(plan.layers):
            raise ValueError("the network has another number of layers than the plan")
        found = []
        moduli, special = plan.parameters.moduli, plan.parameters.special
        for index, (layer, stage) in enumerate(zip(plan.layers, stages, strict=True)):
            same = stage.weights.shape == (layer.outputs, layer.inputs) and stage.offset.shape == (layer.outputs,)
            if not same or (stage.slope is not None) is not layer.squared or stage.second is not None:
                raise ValueError(f"{layer.name} has another shape than in the plan")
            first = plan.input_places if index == 0 else None
            coefficients = polynomials_of(factors_of(layer.move, stage.weights, first), scale=layer.weight_scale)
            kept = moduli[: layer.limbs] if special is None else (*moduli[: layer.limbs], special)
            factors = to_evaluations(reduce_signed(coefficients, moduli=kept), moduli=kept)
            offset = offsets(layer.move, stage.offset)
            found.append(
                SecretStep(
                    coefficients=coefficients,
                    factors=factors,
                    offset=offset,
                    offset_factor=plaintext_at(offset, layer.scale, moduli[: layer.limbs - layer.dropped]),
                    slope=stage.slope,
                )
            )
        return cls(stages=stages, layers=tuple(found))

    def simulate(self, rows: Floats, plan: DiagonalPlan, *, random: np.random.Generator | None = None) -> Floats:
        """The simulated mode: what rounded plaintexts give in every slot, without ciphertexts: [rows, outputs].

        Args:
            rows: [rows, inputs], finite; clipped to their ranges.
            plan: of the same network.
            random: draws what the added noise would be (an experiment, no protection), and outputs are rounded to the
                step; None for neither.
        """
        out = np.empty((len(rows), plan.outputs))
        for start in range(0, len(rows), 64):
            *_, values = self.through(plan, laid_out(plan.input_places, scaled_rows(plan, rows[start : start + 64])))
            out[start : start + 64] = values.reshape(len(values), -1, plan.room).sum(axis=1)[:, : plan.outputs]
        if random is None:
            return out
        deviation = plan.layers[-1].error
        if plan.flood_bits is not None:
            flood = 2.0**plan.flood_bits / math.sqrt(3) / (plan.layers[-1].scale / plan.repeated)
            deviation = math.hypot(deviation, flood * math.sqrt(2 * plan.room))
        return np.rint((out + random.normal(0.0, deviation, out.shape)) / plan.step) * plan.step

    def through(self, plan: DiagonalPlan, values: Floats) -> Iterator[Floats]:
        """Every slot after each step's linear map, [rows, slots], from `laid_out` rows."""
        if plan.layers[0].move.source is not None:
            values = values[:, 0]
        for layer, secret in zip(plan.layers, self.layers, strict=True):
            factors = slots_of(secret.coefficients, scale=layer.weight_scale)
            values = applied(layer.move, factors, values) + secret.offset
            yield values
            if secret.slope is not None:
                values = values * (values + secret.slope)


def laid_out(places: npt.NDArray[np.int32], rows: Floats) -> Floats:
    """Numbers of rows where the plan wants them: [rows, inputs] to [rows, ciphertexts, slots]."""
    return np.where(places >= 0, rows[:, np.maximum(places, 0)], 0.0)


def factors_of(move: Move, weights: Floats, first: npt.NDArray[np.int32] | None) -> Floats:
    """What slots are multiplied with; for a first step without a source, `first` says what they hold."""
    if move.source is None:
        assert first is not None
        return plaintexts_beside(move, weights, first)
    return plaintexts(move, weights)


def offsets(move: Move, offset: Floats) -> Floats:
    """What is added to each slot after a move, [slots]; in the last step once for each output: slots are summed."""
    target = move.target
    slots = np.arange(target.slots)
    labels = slots % target.size if target.kind == "tiled" else slots // (target.slots // target.size)
    known = labels < len(offset)
    if move.last:
        known &= slots < target.size
    return np.where(known, offset[np.minimum(labels, len(offset) - 1)], 0.0)


def plaintext_at(slots: Floats, scale: float, moduli: tuple[int, ...]) -> npt.NDArray[np.uint32]:
    """Numbers in slots as a plaintext in NTT form, [limbs, degree]; a large scale's power of two comes last."""
    spare = max(0, math.ceil(math.log2(scale)) - OFFSET_BITS)
    coefficients = polynomials_of(slots, scale=scale / 2.0**spare)
    residues = reduce_signed(coefficients, moduli=moduli)
    powers = np.array([pow(2, spare, prime) for prime in moduli], dtype=np.uint64)[:, None]
    primes = np.array(moduli, dtype=np.uint64)[:, None]
    return to_evaluations((residues.astype(np.uint64) * powers % primes).astype(np.uint32), moduli=moduli)
