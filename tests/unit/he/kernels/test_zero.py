"""Encryptions of zero made here, under SEAL's key and decrypted by SEAL."""

from __future__ import annotations

import numpy as np
import pytest

from wardline.core import SecureRandom
from wardline.he.kernels.modular import add
from wardline.he.kernels.radix import centred
from wardline.he.kernels.transform import to_coefficients
from wardline.he.kernels.zero import encryptions_of_zero
from wardline.he.parameters import Parameters, find_primes


@pytest.mark.crosscheck
def test_bfv_decrypts_to_the_same_after_adding_zeros(seal) -> None:
    primes = find_primes(4096, (25, 25, 25, 26))
    parameters = Parameters(scheme="bfv", degree=4096, moduli=primes[:3], special=primes[3], plain_modulus=1 << 20)
    oracle = seal(parameters)
    key, _ = oracle.opened(oracle.public)
    message = "7FFFFx^4095 + 123x^2 + 1"
    cipher = oracle.seal.Ciphertext()
    oracle.encryptor.encrypt(oracle.seal.Plaintext(message), cipher)
    parts, fields = oracle.opened(cipher)
    zeros = encryptions_of_zero(SecureRandom(), key, count=3, moduli=parameters.moduli, form="coefficients")
    assert zeros.shape == (3, 2, 3, 4096)
    assert not (zeros[0] == zeros[1]).mean() > 0.01, "each of them is fresh"
    for zero in zeros:
        plain = oracle.seal.Plaintext()
        oracle.decryptor.decrypt(oracle.made(add(parts, zero, moduli=parameters.moduli), fields), plain)
        assert plain.to_string() == message
    # The control: a polynomial pair of the same size that is no encryption of zero destroys the message.
    wrong = zeros[0].copy()
    wrong[1] = zeros[1, 1]
    plain = oracle.seal.Plaintext()
    oracle.decryptor.decrypt(oracle.made(add(parts, wrong, moduli=parameters.moduli), fields), plain)
    assert plain.to_string() != message


@pytest.mark.crosscheck
def test_ckks_noise_has_the_stated_size(seal) -> None:
    """SEAL's decryption of an encryption of zero is its noise.

    The measured variance strays by 1.6 % (standard deviation): by 1.1 % for the errors of the one key, 0.6 % for the
    one secret, 0.8 % for 8 * 4096 coefficients, 0.5 % for eight u and e1. So 15 % are a false alarm of less than 1e-6,
    and errors with a standard deviation of 3.8 or 2.7 would be found.
    """
    primes = find_primes(4096, (31, 26, 25, 20))
    degree, moduli = 4096, primes[:3]
    oracle = seal(Parameters(scheme="ckks", degree=degree, moduli=moduli, special=primes[3]))
    key, _ = oracle.opened(oracle.public)
    cipher = oracle.seal.Ciphertext()
    oracle.encryptor.encrypt_zero(cipher)
    _, fields = oracle.opened(cipher)
    zeros = encryptions_of_zero(SecureRandom(), key, count=8, moduli=moduli, form="evaluations")
    values = np.stack([oracle.decrypted(zero, fields) for zero in zeros])
    noise = centred(to_coefficients(values, moduli=moduli), moduli=moduli)
    expected = 10.5 * (4 * degree / 3 + 1)
    assert np.abs(noise).max() <= 21 * (2 * degree + 1)
    assert abs(np.var(noise) / expected - 1) < 0.15


def test_keys_of_another_shape_are_refused() -> None:
    moduli = find_primes(1024, (25,))
    key = np.zeros((2, 1, 1024), dtype=np.uint32)
    for wrong in (key[0], key[:1], key[:, :0]):
        with pytest.raises(ValueError, match="public key"):
            encryptions_of_zero(SecureRandom(), wrong, count=1, moduli=moduli, form="coefficients")
    with pytest.raises(ValueError, match="count"):
        encryptions_of_zero(SecureRandom(), key, count=-1, moduli=moduli, form="coefficients")
