import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from wardline.core import Seeds
from wardline.dp.training._dense import Dense
from wardline.dp.training._layers import Convolutional
from wardline.dp.training.gradients import ROWS_AT_ONCE, clipped_gradient_sum, unsafe_gradient_norms
from wardline.dp.training.noise import ROUNDING_MARGIN
from wardline.models import Cnn, Logistic, Mlp, build, columns, torch_generator
from wardline.models.architecture import ResNet

ARCHITECTURES = [
    Logistic(inputs=5, classes=3),
    Logistic(inputs=5, classes=2, linear_inputs=4),
    Mlp(inputs=5, hidden=(4, 3), classes=2),
    Mlp(inputs=5, hidden=(7,), classes=3, linear_inputs=3),
    Cnn(shape=(2, 8, 8), channels=(4,), hidden=5, classes=3),
    # The second convolution has few places and many weights, the first the opposite: both ways to a norm are taken.
    Cnn(shape=(1, 4, 4), channels=(16, 32), hidden=6, classes=10, linear_inputs=2),
]
UNITS = torch.tensor([0, 0, 0, 1, 2, 2, 3, 4, 4, 4, 4, 5])


def case(architecture, rows=12, *, dtype=torch.float64):
    """A network away from its starting point, and rows."""
    seeds = Seeds(3)
    network = build(architecture, generator=torch_generator(seeds, "init")).to(dtype)
    random = seeds.numpy("rows")
    with torch.no_grad():
        for value in network.parameters():
            value += torch.from_numpy(random.normal(0, 0.2, value.shape)).to(dtype)
    x = torch.from_numpy(random.normal(size=(rows, columns(architecture)))).to(dtype)
    return network, x, torch.from_numpy(random.integers(0, architecture.classes, rows))


def written_out(network, x, y, units=None):
    """Every unit's gradient, by torch itself: the definition, slow and with all of them in memory."""
    parameters = {name: value.detach() for name, value in network.named_parameters()}

    def loss(parameters, row, target):
        return functional.cross_entropy(torch.func.functional_call(network, parameters, (row[None],)), target[None])

    gradients = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0, 0))(parameters, x, y)
    if units is not None:
        gradients = {
            name: torch.zeros(int(units.max()) + 1, *value.shape[1:], dtype=value.dtype).index_add(0, units, value)
            for name, value in gradients.items()
        }
    norms = torch.stack([value.flatten(1).square().sum(1) for value in gradients.values()]).sum(0).sqrt()
    return gradients, norms


def clipped(gradients, norms, clip_norm):
    factor = (clip_norm / (norms + 1e-6)).clamp(max=1.0)
    return {name: torch.einsum("u,u...->...", factor, value) for name, value in gradients.items()}


def total_norm(sums):
    return float(torch.cat([value.double().flatten() for value in sums.values()]).norm())


@pytest.mark.parametrize("units", [None, UNITS], ids=["row", "person"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_norms_and_clipped_sums_are_those_of_gradients_written_out(architecture, units):
    network, x, y = case(architecture)
    gradients, norms = written_out(network, x, y, units)
    torch.testing.assert_close(unsafe_gradient_norms(network, x, y, units=units), norms, rtol=1e-10, atol=1e-12)
    for clip_norm in (0.5 * float(norms.min()), float(norms.median()), 2 * float(norms.max())):
        expected = clipped(gradients, norms, clip_norm)
        found = clipped_gradient_sum(network, x, y, clip_norm=clip_norm, units=units)
        assert list(found) == [name for name, _ in network.named_parameters()]
        for name, value in found.items():
            torch.testing.assert_close(value, expected[name], rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_large_batches_go_through_in_pieces_to_the_same_sum(architecture, dtype, monkeypatch):
    network, x, y = case(architecture, rows=len(UNITS), dtype=dtype)
    seen = []
    owner = Convolutional if isinstance(architecture, Cnn) else Dense
    original = owner.run

    def run(self, rows, chosen):
        seen.append(len(rows.y[chosen]))
        return original(self, rows, chosen)

    monkeypatch.setattr(owner, "run", run)
    for units in (None, UNITS):
        whole = clipped_gradient_sum(network, x, y, clip_norm=0.3, units=units)
        assert seen == [12]
        seen.clear()
        for rows_at_once, sizes in ((5, [4, 4, 4] if units is None else [3, 1, 2, 1, 4, 1]), (1, None)):
            pieces = clipped_gradient_sum(network, x, y, clip_norm=0.3, units=units, rows_at_once=rows_at_once)
            torch.testing.assert_close(pieces, whole, rtol=0, atol=1e-6 if dtype == torch.float32 else 1e-14)
            # A unit's rows stay together whatever the limit; more units go at once if it leaves room for the largest.
            assert seen == (sizes or ([1] * 12 if units is None else [3, 1, 2, 1, 4, 1]))
            seen.clear()
    assert len(unsafe_gradient_norms(network, x, y, units=UNITS)) == 6


@pytest.mark.parametrize("rows_at_once", [0, -1])
def test_no_rows_at_once_are_refused(rows_at_once):
    network, x, y = case(ARCHITECTURES[0])
    with pytest.raises(ValueError, match="rows_at_once"):
        clipped_gradient_sum(network, x, y, clip_norm=1.0, rows_at_once=rows_at_once)


def test_a_residual_network_is_refused_because_its_gradients_per_example_are_not_implemented():
    network = build(ResNet(shape=(1, 4, 4), channels=(8,), blocks=(1,), classes=2))
    with pytest.raises(ValueError, match="per-example gradients"):
        clipped_gradient_sum(network, torch.rand(2, 16), torch.tensor([0, 1]), clip_norm=1.0)


@pytest.mark.parametrize("architecture", [Logistic(inputs=60, classes=2), Mlp(inputs=60, hidden=(64,), classes=10)])
def test_adding_up_in_32_bits_stays_within_the_margin_of_the_noise(architecture):
    # The worst case: all rows pull the same way, so that the sum, and with it what rounding takes, grows without end.
    clip_norm, rows = 0.05, 4 * ROWS_AT_ONCE
    network, x, y = case(architecture, rows=rows, dtype=torch.float32)
    x, y = x[:1] + 1e-3 * x, y[:1].expand(rows).clone()
    assert float(unsafe_gradient_norms(network, x, y).min()) > clip_norm
    sums = [clipped_gradient_sum(network, x[first:], y[first:], clip_norm=clip_norm) for first in range(9)]
    assert total_norm(sums[0]) > 0.99 * rows * clip_norm
    moved = [total_norm({name: one[name] - other[name] for name in one}) for one, other in itertools.pairwise(sums)]
    # Seen: off by 0.17 of the margin.
    assert max(abs(one / clip_norm - 1) for one in moved) < ROUNDING_MARGIN / 2
    # The control: added up row after row in 32 bits, a unit that leaves moves the sum by more than the margin allows.
    alone = np.concatenate([value.ravel().numpy() for value in sums[0].values()]) / rows
    alone = alone[np.abs(alone).argsort()[-100:]]
    single = (alone * (1 + 1e-3 * Seeds(2).numpy("jitter").normal(size=(32 * rows, 1)))).astype(np.float32)
    naive = [np.cumsum(single[first:], axis=0, dtype=np.float32)[-1].astype(float) for first in range(9)]
    moved = [np.linalg.norm(one - other) / np.linalg.norm(single[0]) for one, other in itertools.pairwise(naive)]
    assert max(abs(one - 1) for one in moved) > ROUNDING_MARGIN


def test_without_clipping_the_sum_is_the_gradient_of_the_summed_loss():
    network, x, y = case(ARCHITECTURES[3])
    functional.cross_entropy(network(x), y, reduction="sum").backward()
    sums = clipped_gradient_sum(network, x, y, clip_norm=1e6)
    for name, value in network.named_parameters():
        torch.testing.assert_close(sums[name], value.grad, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_an_empty_batch_gives_zeros(architecture):
    network, x, y = case(architecture)
    for units in (None, UNITS[:0]):
        sums = clipped_gradient_sum(network, x[:0], y[:0], clip_norm=1.0, units=units)
        assert {name: value.shape for name, value in sums.items()} == {
            name: value.shape for name, value in network.named_parameters()
        }
        assert total_norm(sums) == 0
        assert len(unsafe_gradient_norms(network, x[:0], y[:0], units=units)) == 0


def test_the_network_is_left_as_it_was():
    network, x, y = case(ARCHITECTURES[5])
    before = {name: value.detach().clone() for name, value in network.named_parameters()}
    with torch.inference_mode(False), torch.no_grad():
        clipped_gradient_sum(network, x, y, clip_norm=1.0)
    for name, value in network.named_parameters():
        assert torch.equal(value, before[name])
        assert value.grad is None
        assert value.requires_grad


@settings(max_examples=60, deadline=None)
@given(
    index=st.integers(0, len(ARCHITECTURES) - 1),
    exponent=st.integers(-30, 30),
    clip_norm=st.floats(1e-3, 1e3),
    person=st.booleans(),
)
def test_no_single_unit_contributes_more_than_clip_norm(index, exponent, clip_norm, person):
    network, x, y = case(ARCHITECTURES[index], rows=3, dtype=torch.float32)
    units = torch.zeros(3, dtype=torch.int64) if person else None
    x = x[: 3 if person else 1] * 10.0**exponent
    sums = clipped_gradient_sum(network, x, y[: len(x)], clip_norm=clip_norm, units=units)
    assert total_norm(sums) <= clip_norm * (1 + 1e-6)


# The convolutions without linear inputs are left out: behind tanh no number is too large.
@pytest.mark.parametrize("architecture", [*ARCHITECTURES[:4], ARCHITECTURES[5]])
@pytest.mark.parametrize("units", [None, UNITS], ids=["row", "person"])
def test_a_unit_whose_gradient_overflows_contributes_nothing_and_spares_the_others(architecture, units):
    network, x, y = case(architecture, dtype=torch.float32)
    with torch.no_grad():
        for value in network.parameters():
            value.clamp_(min=2.0)  # so that the huge row overflows, whatever its way through the layers
    alone = torch.ones(12, dtype=torch.bool)
    alone[3] = False  # the only row of unit 1
    bad = x.clone()
    bad[3] = 3e38
    # The control: added up as they are, that row's numbers destroy the sum for everybody.
    naive = functional.cross_entropy(network(bad), (y + 1) % architecture.classes, reduction="sum")
    naive.backward()
    assert not all(bool(value.grad.isfinite().all()) for value in network.parameters())
    for labels in (y, (y + 1) % architecture.classes):
        sums = clipped_gradient_sum(network, bad, labels, clip_norm=0.5, units=units)
        rest = None if units is None else torch.unique(units[alone], return_inverse=True)[1]
        expected = clipped_gradient_sum(network, x[alone], labels[alone], clip_norm=0.5, units=rest)
        difference = {name: value - expected[name] for name, value in sums.items()}
        assert total_norm(difference) <= 0.5 + 1e-5


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_swapping_out_a_person_moves_the_sum_by_no_more_than_clip_norm(architecture):
    clip_norm = 0.05
    network, x, y = case(architecture)
    x[7:11] = x[7]  # one person with four rows that all pull the same way
    y[7:11] = y[7]
    without = UNITS != 4
    others = torch.unique(UNITS[without], return_inverse=True)[1]
    assert float(unsafe_gradient_norms(network, x, y).min()) > clip_norm

    def moved(units, rest):
        there = clipped_gradient_sum(network, x, y, clip_norm=clip_norm, units=units)
        gone = clipped_gradient_sum(network, x[without], y[without], clip_norm=clip_norm, units=rest)
        return total_norm({name: value - gone[name] for name, value in there.items()})

    assert moved(UNITS, others) <= clip_norm * (1 + 1e-9)
    # The control: clipped row by row, the same person moves the sum by four times as much.
    assert moved(None, None) == pytest.approx(4 * clip_norm, rel=1e-3)


@pytest.mark.parametrize(
    "units", [[1, 1, 2], [0, 2, 2], [0, 1, 0], [-1, 0, 1], [0, 0]], ids=["from 1", "gap", "disorder", "negative", "few"]
)
def test_units_out_of_order_are_refused(units):
    network, x, y = case(ARCHITECTURES[0], rows=3)
    with pytest.raises(ValueError, match="units"):
        clipped_gradient_sum(network, x, y, clip_norm=1.0, units=torch.tensor(units))


@pytest.mark.parametrize("clip_norm", [0.0, -1.0, float("nan"), float("inf")])
def test_a_clip_norm_that_bounds_nothing_is_refused(clip_norm):
    network, x, y = case(ARCHITECTURES[0])
    with pytest.raises(ValueError, match="clip_norm"):
        clipped_gradient_sum(network, x, y, clip_norm=clip_norm)


@pytest.mark.crosscheck
@pytest.mark.filterwarnings("ignore:Full backward hook is firing:UserWarning")
@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_norms_and_clipped_sums_are_those_of_opacus(architecture, dtype):
    opacus = pytest.importorskip("opacus")
    network, x, y = case(architecture, rows=40, dtype=dtype)
    for layer in network.values():
        layer.requires_grad_(True)
    module = torch.nn.Module()
    module.network = network
    module.forward = lambda rows: network(rows)
    sampled = opacus.GradSampleModule(module, loss_reduction="sum")
    clip_norm = float(unsafe_gradient_norms(network, x, y).median())
    optimizer = opacus.optimizers.DPOptimizer(
        torch.optim.SGD(sampled.parameters(), lr=1.0),
        noise_multiplier=0.0,
        max_grad_norm=clip_norm,
        expected_batch_size=1,
        loss_reduction="sum",
    )
    functional.cross_entropy(sampled(x), y, reduction="sum").backward()
    theirs = {name.removeprefix("_module.network."): value for name, value in sampled.named_parameters()}
    norms = torch.stack([value.grad_sample.flatten(1).norm(dim=1) for value in theirs.values()]).norm(dim=0)
    optimizer.clip_and_accumulate()
    assert float(norms.min()) < clip_norm < float(norms.max())
    ours = clipped_gradient_sum(network, x, y, clip_norm=clip_norm)
    np.testing.assert_allclose(unsafe_gradient_norms(network, x, y), norms.detach(), rtol=1e-6, atol=1e-6)
    assert set(ours) == set(theirs)
    for name, value in ours.items():
        # Opacus adds up in the network's precision: forty terms of up to clip_norm hold 1e-6 of their sum in 32 bits.
        tolerance = 1e-6 * (40 * clip_norm if dtype == torch.float32 else 1)
        np.testing.assert_allclose(value, theirs[name].summed_grad.detach(), rtol=0, atol=tolerance)
