from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch.nn import functional

import wardline.attacks.membership.shadow as shadow
from wardline.attacks.membership.shadow import ReferenceRecipe, balanced_design, equal_sets, train_stack
from wardline.core import Seeds
from wardline.dp import PlainConfig
from wardline.models import Architecture, Cnn, Logistic, Mlp, build, torch_generator

ARCHITECTURES: list[Architecture] = [
    Logistic(inputs=36, classes=3),
    Mlp(inputs=36, hidden=(16, 8), classes=3),
    Cnn(shape=(1, 6, 6), channels=(4,), hidden=8, classes=3),
]


def _recipe(architecture: Architecture, *, references: int = 4, weight_decay: float = 0.0) -> ReferenceRecipe:
    training = PlainConfig(batch=16, epochs=3, learning_rate=0.01, weight_decay=weight_decay)
    return ReferenceRecipe(architecture=architecture, training=training, references=references)


def _rows(count: int) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(1)
    return generator.normal(size=(count, 36)).astype(np.float32), generator.integers(3, size=count)


def _alone(recipe: ReferenceRecipe, x: np.ndarray, y: np.ndarray, rows: np.ndarray, name: str) -> dict[str, np.ndarray]:
    """One model, trained by a plain loop."""
    seeds = Seeds(5)
    network = build(recipe.architecture, generator=torch_generator(seeds, f"{name}.init"))
    training = recipe.training
    optimizer = torch.optim.AdamW(network.parameters(), lr=training.learning_rate, weight_decay=training.weight_decay)
    order = seeds.numpy(f"{name}.order")
    batches = math.ceil(len(rows) / training.batch)
    total = batches * training.epochs
    step = 0
    for _ in range(training.epochs):
        for batch in np.array_split(rows[order.permutation(len(rows))], batches):
            for group in optimizer.param_groups:
                group["lr"] = training.learning_rate * (1 - step / total)
            loss = functional.cross_entropy(network(torch.from_numpy(x[batch])), torch.from_numpy(y[batch]))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            step += 1
    return {key: value.detach().numpy() for key, value in network.named_parameters()}


@pytest.mark.parametrize("architecture", ARCHITECTURES, ids=lambda a: type(a).__name__)
@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_models_trained_at_once_are_those_trained_alone(architecture: Architecture, weight_decay: float) -> None:
    recipe = _recipe(architecture, weight_decay=weight_decay)
    x, y = _rows(90)
    inside = balanced_design(60, 4, generator=np.random.default_rng(0))
    sets = equal_sets(inside, np.arange(60, 90), max_rows=1000, generator=np.random.default_rng(0))
    stack = train_stack(recipe, x, y, sets, seeds=Seeds(5))
    assert len(stack) == 4
    for index in range(4):
        alone = _alone(recipe, x, y, sets[index], f"reference.{index}")
        for name, value in alone.items():
            np.testing.assert_allclose(stack.parameters[name][index].numpy(), value, atol=2e-5)
    logits = stack.logits(x)
    assert logits.shape == (4, 90, 3)
    np.testing.assert_allclose(stack.part(2, 3).logits(x)[0], logits[2], atol=1e-5)


def test_small_memory_trains_in_groups_and_gives_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = _recipe(ARCHITECTURES[1])
    x, y = _rows(40)
    sets = np.stack([np.random.default_rng(i).permutation(40)[:20] for i in range(5)])
    at_once = train_stack(recipe, x, y, sets, seeds=Seeds(5)).logits(x)
    monkeypatch.setattr(shadow, "_BYTES_AT_ONCE", 2 * shadow._row_bytes(recipe.architecture) * 16)
    in_groups = train_stack(recipe, x, y, sets, seeds=Seeds(5)).logits(x)
    np.testing.assert_allclose(at_once, in_groups, atol=2e-5)


def test_the_design_is_balanced() -> None:
    inside = balanced_design(101, 8, generator=np.random.default_rng(0))
    assert (inside.sum(axis=0) == 4).all()
    assert set(inside.sum(axis=1)) == {50, 51}
    assert (inside[0] == ~inside[1]).all()
    assert not (inside[0] == inside[2]).all()


def test_sets_are_equal_in_size_and_hold_what_they_should() -> None:
    inside = balanced_design(21, 4, generator=np.random.default_rng(0))
    sets = equal_sets(inside, np.arange(21, 30), max_rows=1000, generator=np.random.default_rng(0))
    assert sets.shape == (4, 19)
    for chosen, flags in zip(sets, inside, strict=True):
        candidates = chosen[chosen < 21]
        assert len(set(chosen.tolist())) == 19
        assert flags[candidates].all()
        assert set(candidates) == set(np.flatnonzero(flags))


def test_sets_keep_to_the_limit_and_prefer_candidates() -> None:
    inside = balanced_design(20, 4, generator=np.random.default_rng(0))
    sets = equal_sets(inside, np.arange(20, 500), max_rows=12, generator=np.random.default_rng(0))
    assert sets.shape == (4, 12)
    assert ((sets < 20).sum(axis=1) == 10).all()


@pytest.mark.parametrize("references", [3, 2, 5, 0])
def test_an_odd_or_tiny_number_of_references_is_refused(references: int) -> None:
    with pytest.raises(ValueError):
        _recipe(ARCHITECTURES[0], references=references)


def test_no_sets_are_refused() -> None:
    with pytest.raises(ValueError):
        train_stack(_recipe(ARCHITECTURES[0]), *_rows(4), np.zeros((0, 3), dtype=np.int64), seeds=Seeds(0))
