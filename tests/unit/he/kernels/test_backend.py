"""Backends give the same integers, whatever computes them."""

from __future__ import annotations

import numpy as np
import pytest

from wardline.he.kernels.backend import NUMBA, Backend
from wardline.he.kernels.switching import divide_by_last, relinearise
from wardline.he.kernels.transform import to_coefficients, to_evaluations
from wardline.he.parameters import Parameters, find_primes

torch = pytest.importorskip("torch")
DEVICES = [
    "cpu",
    pytest.param(
        "cuda",
        marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device on this machine"),
    ),
]


@pytest.fixture(params=DEVICES)
def backend(request) -> Backend:
    from wardline.he.kernels.torch_backend import TorchBackend

    return TorchBackend(request.param)


@pytest.fixture(scope="module")
def parameters() -> Parameters:
    special, *moduli = find_primes(1024, (31, 31, 30, 20, 16))
    # Far more bits than are secure in this ring: the test is about integers.
    found = object.__new__(Parameters)
    fields = {"scheme": "ckks", "degree": 1024, "moduli": tuple(moduli), "special": special, "plain_modulus": None}
    for name, value in fields.items():
        object.__setattr__(found, name, value)
    return found


def test_both_are_backends(backend) -> None:
    assert isinstance(backend, Backend)
    assert isinstance(NUMBA, Backend)


def test_numba_is_the_kernels(residues, parameters) -> None:
    moduli = parameters.moduli
    polynomials = residues(1024, moduli, 2)
    once = divide_by_last(polynomials, moduli=moduli, form="evaluations")
    twice = divide_by_last(once, moduli=moduli[:-1], form="evaluations")
    np.testing.assert_array_equal(NUMBA.drop(polynomials, moduli=moduli, count=2), twice)
    np.testing.assert_array_equal(
        NUMBA.to_evaluations(polynomials, moduli=moduli), to_evaluations(polynomials, moduli=moduli)
    )


def test_transforms_agree(backend, residues, parameters) -> None:
    moduli = parameters.moduli
    polynomials = residues(1024, moduli, 3, 2)
    np.testing.assert_array_equal(
        backend.to_evaluations(polynomials, moduli=moduli), to_evaluations(polynomials, moduli=moduli)
    )
    np.testing.assert_array_equal(
        backend.to_coefficients(polynomials, moduli=moduli), to_coefficients(polynomials, moduli=moduli)
    )


@pytest.mark.parametrize("count", [0, 1, 3])
def test_drops_agree(backend, residues, parameters, count: int) -> None:
    moduli = parameters.moduli
    polynomials = residues(1024, moduli, 3, 2)
    found = backend.drop(polynomials, moduli=moduli, count=count)
    np.testing.assert_array_equal(found, NUMBA.drop(polynomials, moduli=moduli, count=count))
    with pytest.raises(ValueError, match="cannot be divided"):
        backend.drop(polynomials, moduli=moduli, count=4)


@pytest.mark.parametrize("limbs", [4, 2, 1])
def test_relinearisations_agree(backend, residues, parameters, limbs: int) -> None:
    parts = residues(1024, parameters.moduli[:limbs], 2, 3)
    key = residues(1024, parameters.primes, 4, 2)
    expected = relinearise(parts, key, parameters, form="evaluations")
    np.testing.assert_array_equal(backend.relinearise(parts, key, parameters), expected)
    np.testing.assert_array_equal(backend.relinearise(parts[0], key, parameters), expected[0])
    other = residues(1024, parameters.primes, 4, 2)[::-1].copy()  # another key is not taken for the last one
    np.testing.assert_array_equal(
        backend.relinearise(parts, other, parameters), relinearise(parts, other, parameters, form="evaluations")
    )
    with pytest.raises(ValueError, match="three parts"):
        backend.relinearise(parts[:, :2], key, parameters)
    with pytest.raises(ValueError, match="a key is"):
        backend.relinearise(parts, key[:2], parameters)


@pytest.mark.parametrize(("prime_bits", "weight_bits"), [(31, 8), (31, 28), (16, 43)])
@pytest.mark.parametrize("fresh", [False, True])
def test_sums_agree(backend, prime_bits: int, weight_bits: int, fresh: bool) -> None:
    generator = np.random.default_rng(weight_bits)
    (prime,) = find_primes(1024, (prime_bits,))
    source = generator.integers(0, prime, (9, 40), dtype=np.uint32)
    source[:, :3] = prime - 1
    weights = generator.integers(-(1 << weight_bits), 1 << weight_bits, (5, 6))
    weights[0] = (1 << weight_bits) - 1
    places = np.array([7, 0, 2, 3, 6]), np.array([8, 0, 4, 4, 1, 7])
    found, expected = (np.full((8, 40), 5, dtype=np.uint32) for _ in range(2))
    backend.add_sums(found, source, weights, places=places, prime=prime, fresh=fresh)
    NUMBA.add_sums(expected, source, weights, places=places, prime=prime, fresh=fresh)
    np.testing.assert_array_equal(found, expected)
    with pytest.raises(ValueError, match="out of range"):
        backend.add_sums(found, source, weights, places=(places[0] + 1, places[1]), prime=prime, fresh=fresh)


@pytest.mark.parametrize("count", [0, 1, 2])
def test_products_agree(backend, residues, parameters, count: int) -> None:
    moduli = parameters.moduli
    left, right = residues(1024, moduli, 2), residues(1024, moduli, 2)[::-1].copy()
    multiples = [(residues(1024, moduli, 2), factor) for factor in (-(1 << 90) + 3, 12345)][:count]
    found = backend.products(left, right, multiples=multiples, moduli=moduli)
    np.testing.assert_array_equal(found, NUMBA.products(left, right, multiples=multiples, moduli=moduli))


def test_a_device_that_does_not_exist_is_named_at_once() -> None:
    from wardline.he.kernels.torch_backend import TorchBackend

    with pytest.raises(RuntimeError):
        TorchBackend("no such device")
