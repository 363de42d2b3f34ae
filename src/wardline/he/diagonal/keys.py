"""A client's keys as one plan needs them: at its levels, with its digits, rotated back. Made once for a client."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from wardline.he.ciphertext import EvaluationKeys, Residues
from wardline.he.diagonal.plan import DiagonalPlan
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


def gathered(plan: DiagonalPlan, keys: EvaluationKeys) -> GatheredKeys:
    """The keys that a plan needs, ready for computing; the given ones are then not needed any more.

    Raises:
        ValueError: for keys of other parameters, or without one that the plan needs.
    """
    parameters, degree = plan.parameters, plan.parameters.degree
    if keys.parameters != parameters:
        raise ValueError("the keys belong to other parameters than the network's")
    missing = [step for step in plan.steps if galois_element(step, degree) not in keys.galois]
    if missing or (plan.relinearises and keys.relinearisation is None):
        raise ValueError("the keys lack one that rotates or relinearises")
    relinearisations: list[Residues | None] = []
    rotations: list[Mapping[int, Residues]] = []
    for index, layer in enumerate(plan.layers):
        squared = index > 0 and plan.layers[index - 1].squared
        relinearisations.append(
            gathered_key(keys.relinearisation, parameters, limbs=layer.limbs, group=layer.group)
            if squared and keys.relinearisation is not None
            else None
        )
        found = {}
        for step in sorted(layer.move.steps):
            element = galois_element(step, degree)
            found[step] = gathered_key(
                keys.galois[element], parameters, limbs=layer.limbs, group=layer.group, element=element
            )
        rotations.append(found)
    return GatheredKeys(
        parameters=parameters,
        public=keys.public,
        relinearisations=tuple(relinearisations),
        rotations=tuple(rotations),
    )
