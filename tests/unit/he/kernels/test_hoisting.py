"""Rotations with digits of several limbs, against exact integers and against SEAL's decryption."""

from __future__ import annotations

import math

import numpy as np
import pytest

from wardline.he.ciphertext import Ciphertext
from wardline.he.kernels import hoisting
from wardline.he.kernels.expansion import expand
from wardline.he.kernels.modular import add, multiply, reduce_signed
from wardline.he.kernels.radix import integers, to_digits
from wardline.he.kernels.transform import galois_element, to_coefficients, to_evaluations
from wardline.he.parameters import Parameters, find_primes

DEGREE = 4096
PRIMES = find_primes(DEGREE, (31, 26, 26, 26))
PARAMETERS = Parameters(scheme="ckks", degree=DEGREE, moduli=PRIMES[1:], special=PRIMES[0])
STEPS = (1, 5, -2)


@pytest.mark.parametrize("group", [1, 2, 3, 4])
def test_digits_are_the_centred_integers(residues, group: int) -> None:
    special, *moduli = find_primes(64, (31, 31, 20, 31, 26, 31))
    polynomial = residues(64, tuple(moduli))
    found = hoisting.lifted(
        to_evaluations(polynomial, moduli=tuple(moduli)), moduli=tuple(moduli), special=special, group=group
    )
    assert found.shape == (-(-5 // group), 6, 64)
    plain = to_coefficients(found, moduli=(*moduli, special))
    for place, first in enumerate(range(0, 5, group)):
        own = tuple(moduli[first : first + group])
        product = math.prod(own)
        whole = integers(to_digits(polynomial[first : first + group], moduli=own), moduli=own)
        centred = np.where(whole > (product - 1) // 2, whole - product, whole)
        for limb, prime in enumerate((*moduli, special)):
            assert (plain[place, limb] == centred % prime).all()


@pytest.fixture(scope="module")
def client():
    pytest.importorskip("tenseal")
    from wardline.he.frames.evaluation_keys import expand_keys
    from wardline.he.seal.bridge import SealLattice

    lattice = SealLattice.generate(PARAMETERS)
    return lattice, expand_keys(lattice.evaluation_keys(relinearisation=True, steps=STEPS))


@pytest.fixture(scope="module")
def encrypted(client):
    lattice, _ = client
    values = np.random.default_rng(5).uniform(-1, 1, DEGREE // 2)
    scale = 2.0**45
    columns = lattice.encrypt_slots(values[None], scale=scale)
    return values, np.concatenate([columns.c0, expand(columns.seeds, PARAMETERS)]), scale


def opened(lattice, parts, scale):
    return lattice.decrypt_slots([Ciphertext(parameters=PARAMETERS, parts=parts, form="evaluations", scale=scale)])[0]


def gathered(keys, limbs, group):
    return {
        element: hoisting.gathered_key(keys.galois[element], PARAMETERS, limbs=limbs, group=group, element=element)
        for element in (galois_element(step, DEGREE) for step in STEPS)
    }


@pytest.mark.crosscheck
@pytest.mark.parametrize(("limbs", "group", "tolerance"), [(3, 1, 1e-6), (2, 1, 1e-6), (3, 2, 1e-2)])
def test_sums_of_rotations(client, encrypted, limbs: int, group: int, tolerance: float) -> None:
    """One prime a digit adds noise near 1e-9, two of 52 bits over a special one of 31 bits near 4e-4."""
    lattice, keys = client
    values, parts, scale = encrypted
    kept, moduli, special = np.ascontiguousarray(parts[:, :limbs]), PARAMETERS.moduli[:limbs], PARAMETERS.special
    ready = gathered(keys, limbs, group)
    turned = sum(np.roll(values, -step) for step in STEPS)
    found = hoisting.rotations_sum(kept, ready, moduli=moduli, special=special, group=group)
    off = opened(lattice, found, scale) - (values + turned)
    assert np.abs(off).max() < tolerance
    alone = hoisting.rotations_sum(kept, ready, moduli=moduli, special=special, group=group, itself=False)
    assert np.abs(opened(lattice, alone, scale) - turned).max() < tolerance
    # The control: with a key of another rotation nothing is left of the message.
    first, second, _ = ready
    wrong = {first: ready[second]}
    broken = hoisting.rotations_sum(kept, wrong, moduli=moduli, special=special, group=group, itself=False)
    assert np.abs(opened(lattice, broken, scale) - np.roll(values, -1)).max() > 100 * tolerance


@pytest.mark.crosscheck
def test_weighted_rotations_are_sums_of_rotations_times_plaintexts(client, encrypted) -> None:
    lattice, keys = client
    values, parts, scale = encrypted
    moduli, special = PARAMETERS.moduli, PARAMETERS.special
    whole = (*moduli, special)
    generator = np.random.default_rng(6)
    # Constants are the same in all slots and at all evaluations: no rounding.
    factors = generator.integers(-9, 10, size=(2, 4))
    constants = np.zeros((2, 4, DEGREE), dtype=np.int64)
    constants[:, :, 0] = factors
    plain = to_evaluations(reduce_signed(constants, moduli=whole), moduli=whole)
    ready = gathered(keys, 3, 1)
    found = hoisting.weighted_rotations(parts, plain, ready, moduli=moduli, special=special, group=1)
    turned = np.stack([values, *(np.roll(values, -step) for step in STEPS)])
    for one, row in zip(found, factors, strict=True):
        assert np.abs(opened(lattice, one, scale) - row @ turned).max() < 1e-3
    alone = hoisting.weighted_rotations(parts, plain[:, :1], {}, moduli=moduli, special=special, group=1)
    assert (alone[0] == multiply(parts, np.ascontiguousarray(plain[0, 0, :3]), moduli=moduli)).all()


@pytest.mark.crosscheck
@pytest.mark.parametrize("group", [1, 2])
def test_relinearised_squares_decrypt_as_squares(client, encrypted, group: int) -> None:
    lattice, keys = client
    values, _, _ = encrypted
    scale = 2.0**36
    columns = lattice.encrypt_slots(values[None], scale=scale)
    parts = np.concatenate([columns.c0, expand(columns.seeds, PARAMETERS)])
    moduli = PARAMETERS.moduli
    cross = multiply(parts[0], parts[1], moduli=moduli)
    square = np.stack(
        [
            multiply(parts[0], parts[0], moduli=moduli),
            add(cross, cross, moduli=moduli),
            multiply(parts[1], parts[1], moduli=moduli),
        ]
    )
    key = hoisting.gathered_key(keys.relinearisation, PARAMETERS, limbs=3, group=group)
    found = hoisting.relinearised(square, key, moduli=moduli, special=PARAMETERS.special, group=group)
    assert np.abs(opened(lattice, found, scale**2) - values**2).max() < 1e-4


def test_what_does_not_fit_is_refused() -> None:
    key = np.zeros((3, 2, 4, DEGREE), dtype=np.uint32)
    moduli, special = PARAMETERS.moduli, PARAMETERS.special
    with pytest.raises(ValueError, match="a key is"):
        hoisting.gathered_key(key[:2], PARAMETERS, limbs=3, group=1)
    with pytest.raises(ValueError, match="limbs must lie"):
        hoisting.gathered_key(key, PARAMETERS, limbs=4, group=1)
    with pytest.raises(ValueError, match="limbs must lie"):
        hoisting.gathered_key(key, PARAMETERS, limbs=3, group=0)
    parts = np.zeros((2, 3, DEGREE), dtype=np.uint32)
    with pytest.raises(ValueError, match="a polynomial is"):
        hoisting.lifted(parts[0, :2], moduli=moduli, special=special, group=1)
    with pytest.raises(ValueError, match="does not fit digits"):
        hoisting.rotations_sum(parts, {3: key[:2]}, moduli=moduli, special=special, group=1)
    with pytest.raises(ValueError, match="something to add up"):
        hoisting.rotations_sum(parts, {}, moduli=moduli, special=special, group=1, itself=False)
    with pytest.raises(ValueError, match="three parts"):
        hoisting.relinearised(parts, key, moduli=moduli, special=special, group=1)
    with pytest.raises(ValueError, match="do not fit 0 rotations"):
        hoisting.weighted_rotations(parts, parts[None], {}, moduli=moduli, special=special, group=1)
