"""A client's keys as one plan needs them: at its levels, with its digits, rotated back. Made once for a client."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from wardline.he.ciphertext import EvaluationKeys, Residues, SeededKeys
from wardline.he.diagonal.plan import DiagonalPlan
from wardline.he.frames.evaluation_keys import expand_keys
from wardline.he.kernels.hoisting import gathered_key
from wardline.he.kernels.transform import galois_element
from wardline.he.parameters import Parameters


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class GatheredKeys:
    """What a server keeps of a client's keys for one plan, `plan.gathered_keys_bytes` in all, and the public key.

    Attributes:
        parameters: what the keys belong to.
        public: the public key [2, limbs, degree].
        relinearisations: for each step the key that the squares before it are relinearised with, None for none.
        rotations: for each step keys by the number of slots.
    """

    parameters: Parameters
    public: Residues
    relinearisations: tuple[Residues | None, ...]
    rotations: tuple[Mapping[int, Residues], ...]


def gathered(plan: DiagonalPlan, keys: EvaluationKeys | SeededKeys) -> GatheredKeys:
    """The keys that a plan needs, ready for computing; the given ones are then not needed any more.

    Seeded keys are drawn out one at a time, so that no more than one is in memory as a whole.

    Raises:
        ValueError: for keys of other parameters, or without one that the plan needs.
    """
    parameters, degree = plan.parameters, plan.parameters.degree
    if keys.parameters != parameters:
        raise ValueError("the keys belong to other parameters than the network's")
    missing = [step for step in plan.steps if galois_element(step, degree) not in keys.galois]
    if missing or (plan.relinearises and keys.relinearisation is None):
        raise ValueError("the keys lack one that rotates or relinearises")
    relinearisations: list[Residues | None] = [None] * len(plan.layers)
    rotations: list[dict[int, Residues]] = [{} for _ in plan.layers]
    if plan.relinearises:
        whole = _relinearisation(keys)
        for index, layer in enumerate(plan.layers[1:], start=1):
            relinearisations[index] = gathered_key(whole, parameters, limbs=layer.limbs, group=layer.group)
        del whole
    for step in plan.steps:
        element = galois_element(step, degree)
        whole = _rotation(keys, element)
        for layer, found in zip(plan.layers, rotations, strict=True):
            if step in layer.move.steps:
                found[step] = gathered_key(whole, parameters, limbs=layer.limbs, group=layer.group, element=element)
        del whole
    return GatheredKeys(
        parameters=parameters,
        public=keys.public,
        relinearisations=tuple(relinearisations),
        rotations=tuple(rotations),
    )


def _relinearisation(keys: EvaluationKeys | SeededKeys) -> Residues:
    found = keys.relinearisation if isinstance(keys, EvaluationKeys) else _drawn(keys).relinearisation
    assert found is not None
    return found


def _rotation(keys: EvaluationKeys | SeededKeys, element: int) -> Residues:
    return keys.galois[element] if isinstance(keys, EvaluationKeys) else _drawn(keys, element).galois[element]


def _drawn(keys: SeededKeys, element: int | None = None) -> EvaluationKeys:
    """One key drawn out: that of a rotation, or the one that relinearises."""
    if element is None:
        return expand_keys(replace(keys, galois={}))
    return expand_keys(replace(keys, relinearisation=None, galois={element: keys.galois[element]}))
