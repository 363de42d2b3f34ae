"""What a server computes for one batch of a plan, counted in the operations that take its time."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, TypeAlias, cast

from wardline.he.linear.plan import LinearPlan
from wardline.he.network.plan import LayerPlan, NetworkPlan, NetworkWeights

if TYPE_CHECKING:
    from wardline.he.diagonal.plan import DiagonalPlan, StepPlan

    Plan: TypeAlias = LinearPlan | NetworkPlan | DiagonalPlan

_GROUP = 4
"""Sums of so many outputs are computed at once; what is left over is computed one by one."""

_LINEAR_CALLS = 40
"""Of a linear model, those of transforms and of each output apart."""

_BIAS_PASSES = 20
"""Simple passes that take as long as adding a linear model's bias to an output, and joining its parts."""

_DROP_CALLS = 5
"""To drop one prime of one ciphertext."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """How often each operation is done, on residues of one number modulo one prime.

    Attributes:
        transforms: of one polynomial in one limb.
        expanded: residues drawn from seeds.
        summed: products of a residue and a weight, four outputs at a time.
        summed_alone: the same where there are fewer outputs.
        passed: residues that go through a simple pass, such as a sum or a product of two ciphertexts.
        keyed: products of a residue and one of a switching key.
        hidden: residues of fresh noise, beside its transforms.
        calls: of kernels, each with what it takes before it begins.
    """

    transforms: float = 0.0
    expanded: float = 0.0
    summed: float = 0.0
    summed_alone: float = 0.0
    passed: float = 0.0
    keyed: float = 0.0
    hidden: float = 0.0
    calls: float = 0.0

    def __add__(self, other: Work) -> Work:
        return Work(**{one.name: getattr(self, one.name) + getattr(other, one.name) for one in fields(Work)})

    def __mul__(self, times: float) -> Work:
        return Work(**{one.name: getattr(self, one.name) * times for one in fields(Work)})


@dataclass(frozen=True, slots=True, kw_only=True)
class Shares:
    """The work of a batch: what threads share out, and what one of them does alone."""

    shared: Work
    alone: Work

    def __add__(self, other: Shares) -> Shares:
        return Shares(shared=self.shared + other.shared, alone=self.alone + other.alone)


Steps: TypeAlias = tuple[tuple[str, Shares], ...]
"""The work of each layer by its name, and of making the answer ready to leave."""

REPLY = "reply"
"""The name of the last step."""


def work_of(plan: Plan, *, secret: object = None) -> Shares:
    """What the server does for one batch in all; see `steps_of`."""
    total = Shares(shared=Work(), alone=Work())
    for _, one in steps_of(plan, secret=secret):
        total += one
    return total


def steps_of(plan: Plan, *, secret: object = None) -> Steps:
    """What the server does for one batch, whether it is full or not, layer by layer.

    Args:
        plan: of a linear model, a network on batch columns, or one on diagonals.
        secret: a network's integers, if they are there: which weights of its first layer are 0 saves work, and the plan
            does not tell. Without them it is taken for a dense one, and the result is a bound.

    Raises:
        TypeError: for a plan of another kind.
    """
    match plan:
        case LinearPlan():
            return _linear(plan)
        case NetworkPlan():
            if secret is not None and not isinstance(secret, NetworkWeights):
                raise TypeError("these integers belong to a plan of another kind")
            return _network(plan, secret)
    # Its module loads what a client may do without.
    from wardline.he.diagonal.plan import DiagonalPlan

    if isinstance(plan, DiagonalPlan):
        return _diagonal(plan)
    raise TypeError(f"a {type(plan).__name__} is no plan whose cost is known")


def _linear(plan: LinearPlan) -> Steps:
    degree, limbs, outputs = plan.parameters.degree, len(plan.parameters.moduli), plan.outputs
    size = degree * limbs
    shared = Work(expanded=plan.features * size, calls=_LINEAR_CALLS) + _sums(outputs, plan.features, 2 * size)
    # Two primes are dropped, in coefficient form, of what was hidden behind an encryption of zero.
    alone = _hidden(outputs, degree, limbs, transforms=3 * limbs) + Work(
        passed=outputs * size * (2 * limbs + _BIAS_PASSES), calls=outputs * limbs
    )
    return ("sums", Shares(shared=shared, alone=Work())), (REPLY, Shares(shared=Work(), alone=alone))


def _network(plan: NetworkPlan, secret: NetworkWeights | None) -> Steps:
    degree = plan.parameters.degree
    steps: list[tuple[str, Work]] = []
    for index, layer in enumerate(plan.layers):
        size = layer.limbs * degree
        if index:
            work = _sums(layer.outputs, layer.inputs, 3 * size) + relinearised(layer.limbs, degree) * layer.outputs
        elif secret is None:
            work = Work(expanded=layer.inputs * size) + _sums(layer.outputs, layer.inputs, 2 * size)
        else:
            groups = [group for block in secret.layers[0].blocks for group in block]
            work = Work(expanded=len({one for group in groups for one in group.inputs.tolist()}) * size)
            work += Work(calls=2 * layer.limbs * len(groups))
            for group in groups:
                work += _sums(len(group.outputs), len(group.inputs), 2 * size)
        work += (dropped(layer.limbs, layer.dropped, degree) + Work(passed=size)) * layer.outputs
        if layer.squared:
            work += _bent(layer, degree) * layer.outputs
        steps.append((layer.name, work))
    last = plan.layers[-1]
    left = last.limbs - last.dropped
    if plan.flood_bits is not None:
        work = _hidden(plan.outputs, degree, left, transforms=4 * left)
        steps.append((REPLY, work + dropped(left, left - plan.reply_limbs, degree) * plan.outputs))
    return tuple((name, Shares(shared=one, alone=Work())) for name, one in steps)


def _bent(layer: LayerPlan, degree: int) -> Work:
    """The polynomial of one number."""
    left = layer.limbs - layer.dropped
    once = Work(passed=4 * left * degree, calls=3)
    if layer.second is None:
        return once
    between = relinearised(left, degree) + dropped(left, layer.second.dropped, degree)
    return once + between + Work(passed=4 * layer.left * degree)


def _diagonal(plan: DiagonalPlan) -> Steps:
    degree = plan.parameters.degree
    moduli = len(plan.parameters.moduli)
    steps = []
    for index, layer in enumerate(plan.layers):
        shared, alone = _rotated(layer, degree), dropped(layer.limbs, layer.dropped, degree)
        if index == 0:
            alone += Work(expanded=plan.ciphertexts * moduli * degree)
        elif plan.layers[index - 1].squared:
            shared += _switched(layer, degree)
            alone += Work(passed=4 * layer.limbs * degree)
        if layer.move.source is None:
            alone += Work(passed=4 * plan.ciphertexts * layer.limbs * degree)
        steps.append((layer.name, Shares(shared=shared, alone=alone)))
    last = plan.layers[-1]
    left = last.limbs - last.dropped
    if plan.flood_bits is not None:
        alone = _hidden(1, degree, left, transforms=4 * left) + dropped(left, left - plan.reply_limbs, degree)
        steps.append((REPLY, Shares(shared=Work(), alone=alone + Work(transforms=2 * plan.reply_limbs))))
    return tuple(steps)


def _rotated(layer: StepPlan, degree: int) -> Work:
    """Rotations of one step, and the products with its weights between them."""
    move = layer.move
    total = Work()
    if move.source is not None:
        total += Work(passed=3 * move.giants * len(move.babies) * (layer.limbs + 1) * degree)
        if len(move.babies) > 1:
            total += _lifted(layer, degree) + _key_product(layer, degree) * (len(move.babies) - 1)
            total += _divided(layer, degree) * move.giants
        total += _switched(layer, degree) * (move.giants - 1)
    for fold in move.folds:
        total += _lifted(layer, degree) + _key_product(layer, degree) * len(fold) + _divided(layer, degree)
    return total


def _switched(layer: StepPlan, degree: int) -> Work:
    """One ciphertext rotated or relinearised on its own."""
    return _lifted(layer, degree) + _key_product(layer, degree) + _divided(layer, degree)


def _lifted(layer: StepPlan, degree: int) -> Work:
    digits = -(-layer.limbs // layer.group)
    others = digits * (layer.limbs + 1) - layer.limbs
    return Work(
        transforms=layer.limbs + others, passed=(2 * others + 2 * layer.limbs) * degree, calls=others + 6 * digits
    )


def _key_product(layer: StepPlan, degree: int) -> Work:
    """With the rotation of the result, which is added to others."""
    primes = layer.limbs + 1
    return Work(keyed=2 * -(-layer.limbs // layer.group) * primes * degree, passed=6 * primes * degree, calls=4)


def _divided(layer: StepPlan, degree: int) -> Work:
    return Work(
        transforms=2 * (layer.limbs + 1), passed=6 * layer.limbs * degree, calls=_DROP_CALLS + 0.5 * layer.limbs
    )


def dropped(limbs: int, count: int, degree: int) -> Work:
    """So many primes dropped from a ciphertext in two parts, by evaluations."""
    total = Work()
    for left in range(limbs, limbs - count, -1):
        total += Work(transforms=2 * left, passed=6 * (left - 1) * degree, calls=_DROP_CALLS + 0.5 * left)
    return total


def relinearised(limbs: int, degree: int) -> Work:
    """A ciphertext of three parts to two, a limb a digit."""
    primes = limbs + 1
    return Work(
        transforms=limbs + limbs * primes + 2 * primes,
        keyed=2 * limbs * primes * degree,
        passed=(limbs * primes + 8 * limbs) * degree,
        calls=2 * _DROP_CALLS + limbs,
    )


def _sums(outputs: int, terms: int, size: float) -> Work:
    together = outputs - outputs % _GROUP
    return Work(summed=together * terms * size, summed_alone=(outputs - together) * terms * size, passed=outputs * size)


def _hidden(outputs: int, degree: int, limbs: int, *, transforms: int) -> Work:
    return Work(hidden=outputs * limbs * degree, transforms=transforms * outputs, calls=4 * limbs)


def upload_limbs(plan: Plan) -> tuple[int, int]:
    """Ciphertexts that a client encrypts for one batch, and limbs of each."""
    count = cast("DiagonalPlan", plan).ciphertexts if hasattr(plan, "ciphertexts") else plan.inputs
    return count, len(plan.parameters.moduli)


def reply_limbs(plan: Plan) -> tuple[int, int]:
    """Ciphertexts that a client decrypts for one batch, and limbs of each."""
    if isinstance(plan, LinearPlan):
        return plan.outputs, len(plan.parameters.moduli)  # SEAL takes it multiplied by the primes that it lacks
    return (1 if hasattr(plan, "ciphertexts") else plan.outputs), plan.reply_limbs
