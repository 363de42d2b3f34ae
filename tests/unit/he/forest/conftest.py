"""Small random forests, and clients for their plans."""

from __future__ import annotations

import numpy as np
import pytest

from wardline.he.compiler.program import Meaning
from wardline.he.forest.trees import LEAF, Forest, Tree


def random_tree(generator: np.random.Generator, *, depth: int, features: int, outputs: int = 1) -> Tree:
    """A tree whose ways end at random depths, with few thresholds, so that some ways can be taken by no row."""
    nodes: list[list[float]] = []
    values: list[np.ndarray] = []

    def grow(left_depth: int, root: bool) -> int:
        own = len(nodes)
        nodes.append([LEAF, 0.0, -1, -1])
        values.append(generator.normal(size=outputs))
        if left_depth and (root or generator.random() < 0.8):
            nodes[own][:2] = [int(generator.integers(features)), float(generator.integers(-4, 5)) / 4]
            nodes[own][2] = grow(left_depth - 1, False)
            nodes[own][3] = grow(left_depth - 1, False)
        return own

    grow(depth, True)
    table = np.array(nodes)
    return Tree(
        feature=table[:, 0].astype(np.int64),
        threshold=table[:, 1],
        left=table[:, 2].astype(np.int64),
        right=table[:, 3].astype(np.int64),
        value=np.array(values),
    )


def make_forest(seed: int, *, trees: int = 3, depth: int = 2, features: int = 3, outputs: int = 1) -> Forest:
    generator = np.random.default_rng(seed)
    grown = (random_tree(generator, depth=depth, features=features, outputs=outputs) for _ in range(trees))
    return Forest(
        trees=tuple(grown),
        features=features,
        offset=generator.normal(size=outputs),
        number="float32",
        meaning=Meaning(gives="values"),
    )


@pytest.fixture(scope="session")
def random_forest():
    return make_forest


@pytest.fixture(scope="session")
def rows():
    """Rows that often meet a threshold exactly."""

    def make(seed: int, features: int = 3, count: int = 200) -> np.ndarray:
        generator = np.random.default_rng([seed, 7])
        return np.rint(4 * generator.normal(size=(count, features))) / 4

    return make


@pytest.fixture(scope="session")
def client():
    """Makes (lattice, evaluation keys) of parameters, once for each."""
    pytest.importorskip("tenseal")
    from wardline.he.frames.evaluation_keys import expand_keys
    from wardline.he.seal.bridge import SealLattice

    made: dict[str, tuple] = {}

    def make(parameters):
        if parameters.digest not in made:
            lattice = SealLattice.generate(parameters)
            keys = lattice.evaluation_keys(relinearisation=parameters.special is not None)
            made[parameters.digest] = lattice, expand_keys(keys)
        return made[parameters.digest]

    return make


@pytest.fixture(scope="session")
def noise_budget():
    """SEAL's own measure of the room that noise leaves in a ciphertext, in whole bits."""

    def measure(lattice, one) -> int:
        from wardline.he.seal.files import ciphertext_head
        from wardline.he.seal.keys import unsafe_secret
        from wardline.he.seal.scratch import Scratch

        context = lattice.key.context
        decryptor = context.seal.Decryptor(context.handle, unsafe_secret(lattice.key))
        loaded = context.seal.Ciphertext()
        head = ciphertext_head(context.levels[one.limbs], parts=len(one.parts), evaluations=False, scale=1.0)
        with Scratch() as scratch:
            scratch.write([head, one.parts.astype("<u8").reshape(-1).data.cast("B")])
            loaded.load(context.handle, scratch.path)
        return decryptor.invariant_noise_budget(loaded)

    return measure
