"""How a network is computed on ciphertexts: what both sides know of it, and what the server alone knows.

Ciphertext j holds input number j of up to degree / 2 rows in its slots. A stage multiplies by integer weights, adds,
drops primes so that the scale stays what it was, and squares; the parts of a square are three until the next linear map
has made fewer of them. With scales S and weights' scales V it goes

    S0 -> S0 V1 -> (drop) S1 -> S1^2 -> S1^2 V2 -> (drop) S2 -> ... -> reply.

A polynomial of degree 3 or 4 has a second product: u = y^2 + s y is relinearised and brought down to a scale U of its
own, and then u^2 + f u + c y (or y u + c y) takes three parts to the next linear map. y itself keeps its scale S, since
it only loses the limbs that u has lost; as an integer c is multiplied by U^2 / S, so that all terms meet exactly:

    S1 -> S1^2 -> (drop) U1 -> U1^2 (or S1 U1) -> U1^2 V2 -> (drop) S2.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from wardline.he.network.noise import in_slots
from wardline.he.network.stages import Floats, Group, SecondBend, Stage
from wardline.he.parameters import MOST_BITS, Parameters
from wardline.he.ranges import scaled_rows

FLOOD_BITS = 40
"""By so many bits the noise that a server adds is larger than anything in the noise that tells of the weights."""

BLOCK = 32
"""Ciphertexts of a layer that are squared at once."""

CHUNK = 4
"""Ciphertexts that a thread rescales, squares or relinearises at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SecondPlan:
    """The first product u = y^2 + s y of a polynomial of degree 3 or 4, as it gets ready for the second one.

    Attributes:
        degree: of the polynomial, 3 or 4.
        dropped: primes that are dropped after the first product.
        scale: of u, after the drop.
        error: predicted deviation of u that encryption causes, over typical rows.
        bound: no u of rows within the ranges has more noise, but for a chance of 2^-40.
    """

    degree: int
    dropped: int
    scale: float
    error: float
    bound: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerPlan:
    """A linear map with the polynomial behind it, as it is computed.

    Attributes:
        name: of the linear map.
        inputs: numbers that it reads, a ciphertext each.
        outputs: numbers that it gives.
        live: the most of its inputs that are expanded at once.
        limbs: that its sums are computed in.
        dropped: primes that are dropped after them.
        weight_scale: what its weights were multiplied with before they were rounded.
        scale: of its results, after the drop.
        squared: whether a polynomial follows.
        error: predicted deviation of its results (before the polynomial) that encryption causes, over typical rows.
        bound: no result of rows within the ranges has more noise, but for a chance of 2^-40.
        second: of a polynomial of degree 3 or 4; None for one of degree 2, or none.
    """

    name: str
    inputs: int
    outputs: int
    live: int
    limbs: int
    dropped: int
    weight_scale: float
    scale: float
    squared: bool
    error: float
    bound: float
    second: SecondPlan | None = None

    @property
    def left(self) -> int:
        """Limbs that the next layer, or a reply before it was flooded, starts with."""
        return self.limbs - self.dropped - (0 if self.second is None else self.second.dropped)

    @property
    def bent_scale(self) -> float:
        """Of what the polynomial gives, or of the results where there is none."""
        if not self.squared:
            return self.scale
        if self.second is None:
            return self.scale**2
        return self.second.scale * (self.scale if self.second.degree == 3 else self.second.scale)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class NetworkPlan:
    """What both sides know of an encrypted network. It tells its shape and its weights' scales, and no weights.

    Attributes:
        parameters: of the encryption.
        centre, half_width: of each input's calibrated range: [inputs] each.
        input_scale: of fresh ciphertexts.
        layers: in order.
        reply_limbs: moduli that are left in a reply.
        reply_scale: of a reply.
        flood_bits: the server's noise is uniform in [-2^flood_bits, 2^flood_bits) at the last layer's scale; None for
            a plan without protection, which only what is called unsafe accepts.
        reach: no output of rows within the ranges is larger in size.
        error: predicted standard deviation of an output's error over rows like the sample's, rounding to `step`
            included.
        worst: no output of rows within the ranges is farther from the exact one, but for a chance of 2^-40.
        step: what outputs are rounded to: a power of two, two to four deviations of the noise.
    """

    parameters: Parameters
    centre: Floats
    half_width: Floats
    input_scale: float
    layers: tuple[LayerPlan, ...]
    reply_limbs: int
    reply_scale: float
    flood_bits: int | None
    reach: float
    error: float
    worst: float
    step: float

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
        """How many rows a batch has."""
        return self.parameters.slots

    @property
    def relinearises(self) -> bool:
        """Whether the server needs keys to relinearise products."""
        return any(one.squared for one in self.layers)

    @property
    def upload_bytes(self) -> int:
        """Of a batch, packed: a seed and c0 for each input, `inputs (64 + degree bits(moduli) / 8)`."""
        bits = sum(prime.bit_length() for prime in self.parameters.moduli)
        return self.inputs * (64 + self.parameters.degree * bits // 8)

    @property
    def reply_bytes(self) -> int:
        """Of a batch, packed: two parts for each output, `2 outputs degree bits(reply moduli) / 8`."""
        bits = sum(prime.bit_length() for prime in self.parameters.moduli[: self.reply_limbs])
        return 2 * self.outputs * self.parameters.degree * bits // 8

    def memory_bytes(self, threads: int = 1) -> int:
        """What the server takes at most for a batch beside the upload and the keys.

        With polynomials of `4 degree` bytes a limb, the first layer holds its live inputs' second parts and a block of
        32 results in two parts, then squared in three; every layer the sums of the next one in three parts, its own
        results in two, and a block of squares. A thread takes the inputs of a group in one limb, and 60 polynomials to
        rescale, square or relinearise four ciphertexts, or 100 if it has to do all that for a second product.
        """
        first, *others = self.layers
        most = 0
        for index, layer in enumerate(self.layers):
            left = layer.limbs - layer.dropped
            following = 3 * self.layers[index + 1].outputs * layer.left if layer.squared else 0
            if index == 0:
                block = min(BLOCK, layer.outputs)
                whole = 0 if others else 2 * layer.outputs * left
                held = layer.live * layer.limbs + 4 * block * layer.limbs + 6 * block * left + whole
            else:
                block = min(BLOCK, layer.outputs)
                held = 7 * layer.outputs * layer.limbs + 6 * block * left
            most = max(most, held + 2 * following)
        terms = max(one.inputs if index else one.live for index, one in enumerate(self.layers))
        outputs = max(one.outputs for one in self.layers)
        pieces = 60 if all(one.second is None for one in self.layers) else 100
        working = threads * (terms + 4 * outputs + pieces * first.limbs) + 16
        blas = threads * (1 << 21) + 1024 * (terms + outputs) + 8 * sum(one.inputs * one.outputs for one in self.layers)
        return 4 * self.parameters.degree * (most + working) + blas

    def explain(self) -> str:
        """The plan in words and figures."""
        parameters = self.parameters
        lines = [
            f"network: {self.inputs} inputs, {len(self.layers)} layers, {self.outputs} outputs; CKKS, batch columns",
            f"ring {parameters.degree}, {parameters.bits} of {MOST_BITS[parameters.degree]} bits that 128-bit security "
            f"allows, {len(parameters.moduli)} primes; {self.rows} rows to a batch",
        ]
        level = 0
        for layer in self.layers:
            level += layer.dropped
            kept = 4 * parameters.degree * layer.outputs * (3 if layer.squared else 2) * layer.left
            bent = ", squared" if layer.squared else ""
            if layer.second is not None:
                bent = f", polynomial of degree {layer.second.degree}"
            lines.append(
                f"{layer.name}: {layer.inputs} -> {layer.outputs}{bent}; {layer.limbs} "
                f"limbs, {layer.dropped} dropped (level {level}), scale 2^{math.log2(layer.scale):.1f}, weights 2^"
                f"{math.log2(layer.weight_scale):.0f}, results {kept / 2**20:.1f} MiB, noise {layer.error:.2g}, "
                f"never above {layer.bound:.2g}"
            )
            if layer.second is not None:
                level += layer.second.dropped
                lines.append(
                    f"{layer.name}, between its two products: {layer.limbs - layer.dropped} limbs, "
                    f"{layer.second.dropped} dropped (level {level}), scale 2^{math.log2(layer.second.scale):.1f}, "
                    f"noise {layer.second.error:.2g}, never above {layer.second.bound:.2g}"
                )
        if self.flood_bits is None:
            lines.append("no protection: whoever decrypts an answer can learn about the weights")
        else:
            lines.append(
                f"noise against weight recovery: 2^{self.flood_bits} at the last scale, {FLOOD_BITS} bits above what "
                "tells of weights"
            )
        lines.append(
            f"outputs up to {self.reach:.4g} in steps of {self.step:.2g}; predicted error {self.error:.2g}, never "
            f"above {self.worst:.2g}"
        )
        lines.append(
            f"upload {self.upload_bytes / self.rows:.0f} bytes a full row, reply {self.reply_bytes / self.rows:.1f}; "
            f"server memory {self.memory_bytes() / 2**20:.0f} MiB beside the upload of a batch"
        )
        return "\n".join(lines)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SecretLayer:
    """A layer's integers.

    Attributes:
        weights: [outputs, inputs].
        weight_scale: what one stands for, inverted.
        offset: real numbers [outputs].
        slope: of the polynomial x^2 + slope x behind, or of the first product in one of degree 3 or 4; None where there
            is none.
        blocks: for the first layer, which outputs are computed together from which inputs.
        second: what follows the first product for degree 3 or 4.
    """

    weights: npt.NDArray[np.int64] = field(repr=False)
    weight_scale: float
    offset: Floats = field(repr=False)
    slope: float | None = field(repr=False)
    blocks: tuple[tuple[Group, ...], ...] = field(repr=False)
    second: SecondBend | None = field(default=None, repr=False)

    def stage(self, name: str = "") -> Stage:
        """The same in real numbers."""
        return Stage(
            name=name,
            weights=self.weights / self.weight_scale,
            offset=self.offset,
            slope=self.slope,
            second=self.second,
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class NetworkWeights:
    """The server's half, which never leaves it."""

    layers: tuple[SecretLayer, ...] = field(repr=False)

    def simulate(self, rows: Floats, plan: NetworkPlan, *, random: np.random.Generator | None = None) -> Floats:
        """The simulated mode: outputs of rounded weights, without ciphertexts: [rows, outputs].

        Args:
            rows: [rows, inputs], finite; clipped to their ranges.
            plan: of the same network.
            random: draws what the added noise would be (an experiment, no protection), and outputs are rounded to the
                step; None for neither.
        """
        values = scaled_rows(plan, rows)
        for layer in self.layers:
            stage = layer.stage()
            values = stage.bend(stage.linear(values))
        if random is None:
            return values
        deviation = plan.layers[-1].error
        if plan.flood_bits is not None:
            flood = 2.0**plan.flood_bits / math.sqrt(3) / plan.layers[-1].scale
            deviation = math.hypot(deviation, in_slots(flood, plan.parameters.degree))
        return np.rint((values + random.normal(0.0, deviation, values.shape)) / plan.step) * plan.step
