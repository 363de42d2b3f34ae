"""What SEAL encrypts comes back, through our own residues, seeds and kernels; SEAL is the oracle for all of them."""

from __future__ import annotations

import copy
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from wardline.core import SecureRandom, Seeds
from wardline.he.ciphertext import Ciphertext, Residues, SeededColumns
from wardline.he.frames.columns import read_columns, write_columns
from wardline.he.frames.evaluation_keys import expand_keys
from wardline.he.frames.session import Binding, Limits, Session
from wardline.he.kernels.expansion import expand
from wardline.he.kernels.modular import add, multiply
from wardline.he.kernels.radix import centred
from wardline.he.kernels.switching import divide_by_last, relinearise, rotate
from wardline.he.kernels.transform import apply_galois, galois_element, to_coefficients
from wardline.he.kernels.zero import encryptions_of_zero
from wardline.he.parameters import Parameters, find_primes
from wardline.he.seal.bridge import SealLattice
from wardline.he.seal.files import Cursor, Decompressor, SeededFile, ciphertext_head
from wardline.he.seal.keys import unsafe_export_residues
from wardline.he.seal.scratch import Scratch

RANDOM = Seeds(3).numpy("values")


def opened(columns: SeededColumns) -> list[Ciphertext]:
    """Full ciphertexts, their second parts drawn from the seeds by our own kernel."""
    c1 = expand(columns.seeds, columns.parameters)
    return [
        Ciphertext(
            parameters=columns.parameters, parts=np.stack([first, second]), form=columns.form, scale=columns.scale
        )
        for first, second in zip(columns.c0, c1[:, : columns.limbs], strict=True)
    ]


def phase(lattice: SealLattice, pair: Residues, primes: tuple[int, ...]) -> Residues:
    """c0 + c1 s for a pair of parts by evaluations, whose limbs are the key's limbs `primes`."""
    secret = unsafe_export_residues(lattice.key)
    limbs = [lattice.key.context.primes.index(prime) for prime in primes]
    return add(pair[0], multiply(pair[1], np.ascontiguousarray(secret[limbs]), moduli=primes), moduli=primes)


@pytest.mark.parametrize(
    ("degree", "bits", "plain_bits"),
    [(4096, (25, 25, 25), 45), (4096, (27, 27, 27, 27), 59), (2048, (26, 26), 20), (1024, (26,), 4)],
)
def test_integers_come_back(degree: int, bits: tuple[int, ...], plain_bits: int) -> None:
    parameters = Parameters(
        scheme="bfv", degree=degree, moduli=find_primes(degree, bits), plain_modulus=1 << plain_bits
    )
    lattice = SealLattice.generate(parameters)
    half = 1 << (plain_bits - 1)
    values = RANDOM.integers(-half, half, (3, degree))
    values[0, :3] = -half, half - 1, 0
    values[2] = 0
    columns = lattice.encrypt_coefficients(values)
    assert columns.c0.shape == (3, len(bits), degree)
    assert (columns.c0.max(axis=(0, 2)) < parameters.moduli).all()
    assert len(np.unique(columns.seeds, axis=0)) == 3
    assert (lattice.decrypt_coefficients(opened(columns)) == values).all()


def test_an_odd_plain_modulus_and_short_rows(integers: SealLattice) -> None:
    parameters = Parameters(scheme="bfv", degree=1024, moduli=find_primes(1024, (27,)), plain_modulus=17)
    lattice = SealLattice.generate(parameters)
    values = np.arange(-8, 9, dtype=np.int64).reshape(1, -1)
    found = lattice.decrypt_coefficients(opened(lattice.encrypt_coefficients(values)))
    assert (found[0, :17] == values[0]).all()
    assert not found[0, 17:].any()


def test_seal_draws_the_same_second_part_from_a_seed(integers: SealLattice, reals: SealLattice) -> None:
    slots = reals.encrypt_slots(np.ones((1, 4)), scale=2.0**20)
    for lattice, columns in ((integers, integers.encrypt_coefficients(np.ones((1, 1), np.int64))), (reals, slots)):
        context = lattice.key.context
        level = context.levels[columns.limbs]
        evaluations = columns.form == "evaluations"
        layout = SeededFile.of(level, evaluations=evaluations, scale=columns.scale)
        body = [layout.head, columns.c0[0].astype("<u8").tobytes(), layout.seed_head, columns.seeds[0].tobytes()]
        # The head of a full file has the size of what follows it in its last 8 bytes.
        head = ciphertext_head(level, parts=2, evaluations=evaluations, scale=columns.scale)
        size = 16 + sum(map(len, body))
        with Scratch() as scratch:
            scratch.write([head[:8] + size.to_bytes(8, "little"), *body])
            loaded = context.seal.Ciphertext()
            loaded.load(context.handle, scratch.path)
            loaded.save(scratch.path)
            content = Decompressor()(scratch.read(), most_bytes=1 << 22)
        cursor = Cursor(content)
        cursor.expect(head[16:])
        wanted = cursor.residues(2, columns.limbs, level.degree)
        assert (opened(columns)[0].parts == wanted).all()


def test_bits_left_out_add_a_noise_that_is_bounded() -> None:
    """With 50 bits of modulus and 45 of messages an error of 2^5 shows: 21 of SEAL's and up to 128 of ours."""
    parameters = Parameters(scheme="bfv", degree=4096, moduli=find_primes(4096, (25, 25)), plain_modulus=1 << 45)
    lattice = SealLattice.generate(parameters)
    values = RANDOM.integers(-(1 << 43), 1 << 43, (2, 4096))
    columns = lattice.encrypt_coefficients(values)
    session = Session.generate()
    errors = {}
    for dropped in (0, 8):
        frame = write_columns(columns, session=session, binding=Binding.fresh(), dropped_bits=dropped)
        _, found = read_columns(frame, parameters=parameters, session=session, limits=Limits())
        errors[dropped] = np.abs(lattice.decrypt_coefficients(opened(found)) - values).max()
    step = np.prod([float(q) for q in parameters.moduli]) / 2.0**45
    assert errors[0] <= 21 / step + 1
    assert errors[0] < errors[8] <= (21 + 128) / step + 1


def test_a_reply_of_one_limb_is_decrypted_though_it_is_below_the_plain_modulus(integers: SealLattice) -> None:
    parameters = integers.parameters
    values = RANDOM.integers(-(1 << 44), 1 << 44, (2, 4096))
    (one, other) = opened(integers.encrypt_coefficients(values))
    for limbs in (2, 1):
        one, other = (
            Ciphertext(
                parameters=parameters,
                parts=divide_by_last(c.parts, moduli=parameters.moduli[: limbs + 1], form="coefficients"),
                form="coefficients",
            )
            for c in (one, other)
        )
        found = integers.decrypt_coefficients([one, other])
        # Rounding both parts, the second times a ternary secret: sigma is sqrt((1 + 2/3 N) / 12) = 15; 12 sigma here.
        step = 2.0**45 / float(np.prod([float(q) for q in parameters.moduli[:limbs]]))
        error = (found - values + (1 << 44)) % (1 << 45) - (1 << 44)
        assert np.abs(error).max() <= 12 * 15 * step + 1
        assert limbs == 2 or np.abs(error).std() > 5 * step


def test_slots_come_back(reals: SealLattice) -> None:
    values = RANDOM.normal(size=(2, 4096))
    for limbs in (None, 2):
        columns = reals.encrypt_slots(values, scale=2.0**30, limbs=limbs)
        assert columns.limbs == (limbs or 3)
        found = reals.decrypt_slots(opened(columns))
        # Noise of 3.24 a coefficient and its rounding, over 8192 coefficients, at a scale of 2^30; 8 sigma.
        assert np.abs(found - values).max() < 8 * 3.3 * np.sqrt(8192) / 2.0**30
    short = reals.decrypt_slots(opened(reals.encrypt_slots(values[:, :5], scale=2.0**30)))
    assert np.abs(short[:, 5:]).max() < 1e-5
    assert np.abs(short[:, :5] - values[:, :5]).max() < 1e-5


def test_polynomials_have_the_values_that_the_slots_are(reals: SealLattice) -> None:
    values = RANDOM.normal(size=(1, 4096))
    ciphertexts = opened(reals.encrypt_slots(values, scale=2.0**30, limbs=2))
    polynomial = reals.decrypt_polynomials(ciphertexts)[0]
    slots = reals.decrypt_slots(ciphertexts)[0]
    assert np.abs(polynomial * 2.0**30 - np.rint(polynomial * 2.0**30)).max() < 1e-6
    for j in (0, 1, 2, 4095):
        roots = np.exp(1j * np.pi * (pow(3, j, 16384) * np.arange(8192) % 16384) / 8192)
        assert abs((polynomial @ roots).real - slots[j]) < 1e-9


@pytest.mark.parametrize("which", ["integers", "reals"])
def test_a_public_key_hides_small_noise_and_nothing_of_the_hidden_prime(
    which: str, request: pytest.FixtureRequest
) -> None:
    lattice: SealLattice = request.getfixturevalue(which)
    moduli = lattice.parameters.moduli
    public = lattice.evaluation_keys().public
    assert public.shape == (2, len(moduli), lattice.parameters.degree)
    noise = centred(to_coefficients(phase(lattice, public, moduli), moduli=moduli), moduli=moduli)
    assert 3 < noise.std() < 3.5
    assert np.abs(noise).max() <= 21
    other = lattice.evaluation_keys().public
    assert (other != public).mean() > 0.99, "two public keys share nothing but the secret"


def test_the_server_encrypts_zero_under_the_public_key(integers: SealLattice) -> None:
    parameters = integers.parameters
    values = RANDOM.integers(-(1 << 44), 1 << 44, (1, 4096))
    one = opened(integers.encrypt_coefficients(values))[0]
    zero = encryptions_of_zero(
        SecureRandom(), integers.evaluation_keys().public, count=1, moduli=parameters.moduli, form="coefficients"
    )
    mixed = add(one.parts, zero[0], moduli=parameters.moduli)
    assert (mixed != one.parts).mean() > 0.99
    found = integers.decrypt_coefficients([Ciphertext(parameters=parameters, parts=mixed, form="coefficients")])
    assert (found == values).all()


def test_products_and_rotations_under_the_keys(reals: SealLattice) -> None:
    parameters = reals.parameters
    moduli = parameters.moduli
    keys = expand_keys(reals.evaluation_keys(relinearisation=True, steps=(1, -2)))
    assert sorted(keys.galois) == sorted({galois_element(1, 8192), galois_element(-2, 8192)})
    values = RANDOM.normal(size=(1, 4096))
    one = opened(reals.encrypt_slots(values, scale=2.0**30))[0]
    square = np.stack(
        [
            multiply(one.parts[0], one.parts[0], moduli=moduli),
            add(cross := multiply(one.parts[0], one.parts[1], moduli=moduli), cross, moduli=moduli),
            multiply(one.parts[1], one.parts[1], moduli=moduli),
        ]
    )
    three = Ciphertext(parameters=parameters, parts=square, form="evaluations", scale=2.0**60)
    assert np.abs(reals.decrypt_slots([three])[0] - values[0] ** 2).max() < 1e-4, "SEAL decrypts three parts"
    assert keys.relinearisation is not None
    two = relinearise(square, keys.relinearisation, parameters, form="evaluations")
    short = Ciphertext(parameters=parameters, parts=two, form="evaluations", scale=2.0**60)
    assert np.abs(reals.decrypt_slots([short])[0] - values[0] ** 2).max() < 1e-4
    for step in (1, -2):
        element = galois_element(step, 8192)
        turned = rotate(one.parts, keys.galois[element], parameters, element=element)
        found = Ciphertext(parameters=parameters, parts=turned, form="evaluations", scale=2.0**30)
        off = np.abs(reals.decrypt_slots([found])[0] - np.roll(values[0], -step))
        # Digits are not centred, as in SEAL: slots whose roots stand next to 1 have about a hundred times the noise.
        assert np.median(off) < 1e-4
        assert off.max() < 1e-2


def test_switching_keys_are_what_they_are_said_to_be(reals: SealLattice) -> None:
    """Key i is an encryption of P s' modulo prime i and of 0 modulo the others, with SEAL's noise."""
    parameters = reals.parameters
    primes = parameters.primes
    keys = expand_keys(reals.evaluation_keys(relinearisation=True, steps=(3,)))
    element = galois_element(3, 8192)
    secret = unsafe_export_residues(reals.key)
    targets = {"square": multiply(secret, secret, moduli=primes), "turned": apply_galois(secret, element)}
    assert keys.relinearisation is not None
    for name, key in (("square", keys.relinearisation), ("turned", keys.galois[element])):
        for i, pair in enumerate(key):
            found = phase(reals, pair, primes).astype(np.int64)
            assert parameters.special is not None
            message = targets[name][i].astype(np.int64) * (parameters.special % primes[i]) % primes[i]
            found[i] = (found[i] - message) % primes[i]
            noise = centred(to_coefficients(found.astype(np.uint32), moduli=primes), moduli=primes)
            assert np.abs(noise).max() <= 21


def test_a_key_decrypts_nothing_of_another_key(integers: SealLattice) -> None:
    values = np.zeros((1, 4096), dtype=np.int64)
    ciphertexts = opened(integers.encrypt_coefficients(values))
    found = SealLattice.generate(integers.parameters).decrypt_coefficients(ciphertexts)
    assert np.abs(found).mean() > 2.0**42
    assert not integers.decrypt_coefficients(ciphertexts).any(), "the control: the right key does"


def test_no_file_in_memory_is_left(integers: SealLattice) -> None:
    def left() -> int:
        # The folder itself is open while it is listed, and no longer when its links are read.
        links = [one for one in list(Path("/proc/self/fd").iterdir()) if one.is_symlink()]
        return sum("memfd:wardline" in str(one.readlink()) for one in links)

    values = np.zeros((2, 8), dtype=np.int64)
    integers.decrypt_coefficients(opened(integers.encrypt_coefficients(values)))
    integers.evaluation_keys()
    unsafe_export_residues(integers.key)
    wrong = Ciphertext(
        parameters=integers.parameters, parts=np.full((2, 3, 4096), 1 << 30, np.uint32), form="coefficients"
    )
    with pytest.raises(ValueError):
        integers.decrypt_coefficients([wrong])
    assert left() == 0
    with Scratch() as scratch:
        scratch.write([b"secret"])
        descriptor = os.open(scratch.path, os.O_RDONLY)
        assert left() == 2, "the control: they would be seen"
    assert os.pread(descriptor, 6, 0) == bytes(6), "what was in it was overwritten"
    os.close(descriptor)


def test_what_holds_a_secret_is_not_copied_and_says_nothing(integers: SealLattice) -> None:
    for holder in (integers, integers.key):
        for leak in (pickle.dumps, copy.copy, copy.deepcopy):
            with pytest.raises(TypeError, match="secret"):
                leak(holder)
        assert repr(holder) == f"{type(holder).__name__}({integers.key.id})"


def _refused(call: Callable[[], Any], *, match: str) -> str:
    with pytest.raises(ValueError, match=match) as caught:
        call()
    return str(caught.value)


def test_values_that_cannot_be_encrypted_are_refused_without_being_told(
    integers: SealLattice, reals: SealLattice
) -> None:
    for value in (1 << 44, -(1 << 44) - 1):
        said = _refused(
            lambda value=value: integers.encrypt_coefficients(np.array([[0, value]])), match="plain modulus"
        )
        assert str(value) not in said
    for wrong in (np.zeros((0, 4), np.int64), np.zeros(4, np.int64), np.zeros((1, 4097), np.int64), np.zeros((1, 4))):
        _refused(lambda wrong=wrong: integers.encrypt_coefficients(wrong), match="values must be")
    for value in (float("nan"), float("inf")):
        _refused(lambda value=value: reals.encrypt_slots(np.array([[0.0, value]]), scale=1024.0), match="finite")
    for scale in (0.0, -1.0, float("nan"), float("inf")):
        _refused(lambda scale=scale: reals.encrypt_slots(np.ones((1, 1)), scale=scale), match="finite")
    said = _refused(lambda: reals.encrypt_slots(np.array([[123456.75]]), scale=2.0**70), match="do not fit")
    assert "123456" not in said
    _refused(lambda: reals.encrypt_slots(np.ones((1, 1)), scale=2.0**30, limbs=4), match="no level")
    _refused(lambda: reals.encrypt_coefficients(np.ones((1, 1), np.int64)), match="bfv")
    _refused(lambda: integers.encrypt_slots(np.ones((1, 1)), scale=2.0), match="ckks")
    _refused(lambda: reals.decrypt_coefficients([]), match="bfv")
    _refused(lambda: integers.decrypt_slots([]), match="ckks")


def test_ciphertexts_that_seal_should_not_see_are_refused(integers: SealLattice, reals: SealLattice) -> None:
    ones = np.ones((2, 3, 4096), dtype=np.uint32)
    high = ones.copy()
    high[1, 2, 4095] = integers.parameters.moduli[2]
    for parts, form, match in ((high, "coefficients", "below its prime"), (ones, "evaluations", "form")):
        wrong = Ciphertext(parameters=integers.parameters, parts=parts, form=form)
        _refused(lambda wrong=wrong: integers.decrypt_coefficients([wrong]), match=match)
    other = Parameters(scheme="bfv", degree=4096, moduli=integers.parameters.moduli, plain_modulus=1 << 44)
    foreign = Ciphertext(parameters=other, parts=ones, form="coefficients")
    _refused(lambda: integers.decrypt_coefficients([foreign]), match="other parameters")
    large = Ciphertext(
        parameters=reals.parameters, parts=np.ones((2, 1, 8192), np.uint32), form="evaluations", scale=2.0**31
    )
    _refused(lambda: reals.decrypt_slots([large]), match="scale")


def test_keys_that_cannot_be_made_are_refused(integers: SealLattice, reals: SealLattice) -> None:
    _refused(lambda: integers.evaluation_keys(relinearisation=True), match="special prime")
    _refused(lambda: integers.evaluation_keys(steps=(1,)), match="special prime")
    _refused(lambda: reals.evaluation_keys(steps=(4096,)), match="too many")
