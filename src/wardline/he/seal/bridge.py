"""Encryption and decryption by SEAL, of many plaintexts at a time.

SEAL's Python binding reads and writes files and nothing else that is fast, so numbers go in and out through files in
memory. Those in are written uncompressed; those out SEAL compresses, and leaves no choice: that takes about half as
long as the encryption itself. Both hold the interpreter's lock, so that threads gain nothing here.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, Self, final

import numpy as np
import numpy.typing as npt

from wardline.core.one_place import OnePlace
from wardline.he.ciphertext import SEED_BYTES, Ciphertext, Form, SeededColumns, SeededKey, SeededKeys
from wardline.he.kernels.radix import centred
from wardline.he.kernels.transform import galois_element, to_coefficients
from wardline.he.parameters import Parameters, Scheme
from wardline.he.seal.files import (
    Cursor,
    Decompressor,
    Level,
    SeededFile,
    ciphertext_head,
    plaintext_head,
    read_plaintext,
    read_public_key,
    read_switching_keys,
)
from wardline.he.seal.keys import SecretKey, unsafe_secret
from wardline.he.seal.scratch import Scratch

Integers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

_MARGIN_BITS = 3  # a sign, and room for rounding and noise: no coefficient is larger than the largest slot
_HEAD_BYTES = 4096  # more than all headers of a file together, whatever it holds


@final
class SealLattice(OnePlace):
    """The client's half, under one secret key. It implements `wardline.he.seal.lattice.Lattice`.

    Args:
        key: the secret key.

    Guarantee: the secret is used by SEAL alone, and leaves this object by no method, by no printing and by no pickling.
    Encryption is SEAL's: fresh randomness from the operating system for every ciphertext. That replies are safe to
    decrypt is for the caller: of a reply that a malicious server made up, the decryption must not be told to it.
    """

    __slots__ = ("_decompress", "_decryptor", "_encoder", "_encryptor", "_key")

    def __init__(self, key: SecretKey) -> None:
        context, secret = key.context, unsafe_secret(key)
        self._key = key
        self._encryptor: Any = context.seal.Encryptor(context.handle, secret)
        self._decryptor: Any = context.seal.Decryptor(context.handle, secret)
        self._encoder: Any = context.seal.CKKSEncoder(context.handle) if self.parameters.scheme == "ckks" else None
        self._decompress = Decompressor()

    @classmethod
    def generate(cls, parameters: Parameters) -> Self:
        """Under a fresh key; see `SecretKey.generate`."""
        return cls(SecretKey.generate(parameters))

    @property
    def parameters(self) -> Parameters:
        """What the secret key belongs to."""
        return self._key.parameters

    @property
    def key(self) -> SecretKey:
        """The handle of the secret key."""
        return self._key

    def evaluation_keys(
        self, *, relinearisation: bool = False, steps: Sequence[int] = (), elements: Sequence[int] = ()
    ) -> SeededKeys:
        """Fresh public keys for a server; `wardline.he.frames.evaluation_keys.expand_keys` draws them out.

        Args:
            relinearisation: whether products of ciphertexts are to be brought back to two parts.
            steps: by which slots are to be rotated, to the left where above 0; 0 stands for conjugation.
            elements: powers g of X -> X^g beside those of the steps; odd, above 1, below twice the degree.

        Raises:
            ValueError: for steps beyond the number of slots, another element, or switching keys without a special
                prime.
        """
        context, level = self._key.context, self._key.context.key_level
        if (relinearisation or steps or elements) and self.parameters.special is None:
            raise ValueError("keys are switched in a special prime, and these parameters have none")
        if any(element % 2 == 0 or not 1 < element < 2 * self.parameters.degree for element in elements):
            raise ValueError("a galois element is odd, above 1 and below twice the degree")
        every = sorted({*elements, *(galois_element(step, self.parameters.degree) for step in steps)})
        make = context.seal.KeyGenerator(context.handle, unsafe_secret(self._key))
        limbs = len(self.parameters.moduli)
        one_key = 16 * level.limbs * level.degree + _HEAD_BYTES
        with Scratch() as scratch:
            public = context.seal.PublicKey()
            make.create_public_key(public)
            cursor = Cursor(self._saved(public, scratch, most_bytes=one_key))
            whole = read_public_key(cursor, level)
            cursor.end()
            relinearising: SeededKey | None = None
            if relinearisation:
                content = self._saved(make.create_relin_keys(), scratch, most_bytes=limbs * one_key)
                relinearising = read_switching_keys(content, level=level, digits=limbs)[0]
            galois: dict[int, SeededKey] = {}
            for element in every:  # one at a time, so that only one is in memory twice
                keys = make.create_galois_keys([element])
                content = self._saved(keys, scratch, most_bytes=limbs * one_key + 8 * level.degree)
                galois[element] = read_switching_keys(content, level=level, digits=limbs)[(element - 1) // 2]
        return SeededKeys(
            parameters=self.parameters,
            public=np.ascontiguousarray(whole[:, :limbs]),
            relinearisation=relinearising,
            galois=galois,
        )

    def encrypt_coefficients(self, values: Integers) -> SeededColumns:
        """Encrypt rows of integers with BFV, each as the coefficients of one plaintext.

        Args:
            values: [count, length], length up to the degree (what is missing is 0), each from -t/2 up to, but not
                including, t/2 for the plain modulus t.

        Raises:
            ValueError: for other shapes, types or values, or another scheme.
        """
        modulus = self._plain_modulus()
        degree = self.parameters.degree
        _check_rows(values, np.dtype(np.int64), degree)
        if values.min() < -(modulus // 2) or values.max() >= (modulus + 1) // 2:
            raise ValueError("an integer lies outside of what the plain modulus can hold")
        level = self._key.context.levels[len(self.parameters.moduli)]
        words = np.zeros((len(values), degree), dtype="<i8")
        np.add(values, modulus, out=words[:, : values.shape[1]], where=values < 0)
        np.copyto(words[:, : values.shape[1]], values, where=values >= 0)
        head = plaintext_head(degree)

        def plaintexts(scratch: Scratch) -> Iterator[Any]:
            plain = self._key.context.seal.Plaintext()
            for row in words:
                scratch.write([head, row.data.cast("B")])
                plain.load(self._key.context.handle, scratch.path)
                yield plain

        try:
            with Scratch() as scratch:
                return self._encrypt(plaintexts(scratch), count=len(values), level=level, scale=1.0)
        finally:
            words.fill(0)

    def encrypt_slots(self, values: Floats, *, scale: float, limbs: int | None = None) -> SeededColumns:
        """Encrypt rows of real numbers with CKKS, each as the slots of one plaintext.

        Args:
            values: finite numbers [count, length], length up to half the degree (what is missing is 0).
            scale: by which they are multiplied before they are rounded.
            limbs: of the fresh ciphertexts; None for all moduli.

        Raises:
            ValueError: for other shapes, types or values, another scheme, or numbers too large for the limbs.
        """
        self._need("ckks")
        _check_rows(values, np.dtype(np.float64), self.parameters.slots)
        limbs = len(self.parameters.moduli) if limbs is None else limbs
        if limbs not in self._key.context.levels:
            raise ValueError(f"these parameters have no level of {limbs} limbs")
        largest = max(float(np.abs(values).max()), 1.0)
        if not (math.isfinite(scale) and scale > 0 and np.isfinite(values).all()):
            raise ValueError("values and scale must be finite, and the scale above 0")
        if math.log2(scale) + math.log2(largest) + _MARGIN_BITS > self._bits(limbs):
            raise ValueError("the values, scaled, do not fit the product of the moduli")
        level = self._key.context.levels[limbs]
        name = np.frombuffer(level.name, dtype="<u8").tolist()

        def plaintexts() -> Iterator[Any]:
            plain = self._key.context.seal.Plaintext()
            for row in values:
                self._encoder.encode(row.tolist(), name, scale, plain)  # from a list: faster than from an array
                yield plain

        return self._encrypt(plaintexts(), count=len(values), level=level, scale=scale)

    def decrypt_coefficients(self, ciphertexts: Sequence[Ciphertext]) -> Integers:
        """Decrypt BFV ciphertexts to the coefficients of their plaintexts: [count, degree], centred around 0.

        A ciphertext of few limbs, whose product is below the plain modulus, is welcome: SEAL gets it multiplied by the
        primes that it lacks, which changes neither the message nor the noise in proportion to it.

        Raises:
            ValueError: for ciphertexts of other parameters or forms, or residues that are not below their primes.
        """
        modulus = self._plain_modulus()
        lowest = min(self._key.context.levels)
        out = np.zeros((len(ciphertexts), self.parameters.degree), dtype=np.int64)
        raised = (self._raise(one, lowest) for one in self._checked(ciphertexts, "coefficients"))
        most = 8 * self.parameters.degree + _HEAD_BYTES
        with Scratch() as scratch:
            for row, plain in zip(out, self._decrypt(raised, scratch), strict=True):
                content = self._saved(plain, scratch, most_bytes=most)
                words, _ = read_plaintext(content, level=bytes(32), most=self.parameters.degree)
                row[: len(words)] = words
        np.subtract(out, modulus, out=out, where=out >= (modulus + 1) // 2)
        return out

    def decrypt_slots(self, ciphertexts: Sequence[Ciphertext]) -> Floats:
        """Decrypt CKKS ciphertexts to the real parts of their slots: [count, degree / 2].

        Raises:
            ValueError: for ciphertexts of other parameters or forms, or residues that are not below their primes.

        Guarantee: none beyond what CKKS gives: the values carry noise that depends on the secret key. Whoever publishes
        them unrounded helps an attacker to it (Li and Micciancio 2021).
        """
        self._need("ckks")
        out = np.empty((len(ciphertexts), self.parameters.slots))
        with Scratch() as scratch:
            decrypted = self._decrypt(self._checked(ciphertexts, "evaluations"), scratch)
            for row, plain in zip(out, decrypted, strict=True):
                row[:] = self._encoder.decode_double(plain)
        return out

    def decrypt_polynomials(self, ciphertexts: Sequence[Ciphertext]) -> Floats:
        """Decrypt CKKS ciphertexts to the coefficients of their plaintexts, over their scale: [count, degree].

        They are exact up to the rounding of float64.

        Raises:
            ValueError: for ciphertexts of other parameters or forms, or residues that are not below their primes.

        Guarantee: as of `decrypt_slots`.
        """
        self._need("ckks")
        degree = self.parameters.degree
        out = np.empty((len(ciphertexts), degree))
        checked = list(self._checked(ciphertexts, "evaluations"))
        with Scratch() as scratch:
            for row, one, plain in zip(out, checked, self._decrypt(iter(checked), scratch), strict=True):
                level = self._key.context.levels[one.limbs]
                most = 8 * one.limbs * degree + _HEAD_BYTES
                content = self._saved(plain, scratch, most_bytes=most)
                words, _ = read_plaintext(content, level=level.name, most=one.limbs * degree)
                moduli = self.parameters.moduli[: one.limbs]
                residues = words.astype(np.uint32).reshape(one.limbs, degree)
                row[:] = centred(to_coefficients(residues, moduli=moduli), moduli=moduli)
                row /= one.scale
        return out

    def _encrypt(self, plaintexts: Iterator[Any], *, count: int, level: Level, scale: float) -> SeededColumns:
        evaluations = self.parameters.scheme == "ckks"
        layout = SeededFile.of(level, evaluations=evaluations, scale=scale)
        c0 = np.empty((count, level.limbs, level.degree), dtype=np.uint32)
        seeds = np.empty((count, SEED_BYTES), dtype=np.uint8)
        with Scratch() as scratch:
            for plain, residues, seed in zip(plaintexts, c0, seeds, strict=True):
                encrypted = self._encryptor.encrypt_symmetric(plain)
                layout.take(self._saved(encrypted, scratch, most_bytes=layout.size), residues, seed)
        form: Form = "evaluations" if evaluations else "coefficients"
        return SeededColumns(parameters=self.parameters, seeds=seeds, c0=c0, form=form, scale=scale)

    def _decrypt(self, ciphertexts: Iterator[Ciphertext], scratch: Scratch) -> Iterator[Any]:
        context = self._key.context
        loaded, plain = context.seal.Ciphertext(), context.seal.Plaintext()
        for one in ciphertexts:
            head = ciphertext_head(
                context.levels[one.limbs],
                parts=len(one.parts),
                evaluations=one.form == "evaluations",
                scale=one.scale,
            )
            wide = one.parts.astype("<u8")
            scratch.write([head, wide.reshape(-1).data.cast("B")])
            loaded.load(context.handle, scratch.path)
            self._decryptor.decrypt(loaded, plain)
            yield plain

    def _checked(self, ciphertexts: Sequence[Ciphertext], form: Form) -> Iterator[Ciphertext]:
        for one in ciphertexts:
            if one.parameters != self.parameters or one.form != form:
                raise ValueError("a ciphertext is of other parameters than the key, or not in its scheme's form")
            primes = np.array(self.parameters.moduli[: one.limbs], dtype=np.uint32)
            if (one.parts.max(axis=2) >= primes).any():
                raise ValueError("a residue of a ciphertext is not below its prime")
            if self.parameters.scheme == "ckks" and math.log2(one.scale) >= self._bits(one.limbs) - 1:
                raise ValueError("the scale of a ciphertext does not fit the product of its moduli")
            yield one

    def _raise(self, one: Ciphertext, limbs: int) -> Ciphertext:
        """The same message modulo more primes: times their product, which is 0 modulo each of them."""
        if one.limbs >= limbs:
            return one
        moduli = self.parameters.moduli
        factor = math.prod(moduli[one.limbs : limbs])
        parts = np.zeros((len(one.parts), limbs, self.parameters.degree), dtype=np.uint32)
        for limb in range(one.limbs):
            prime = np.uint64(moduli[limb])
            parts[:, limb] = one.parts[:, limb].astype(np.uint64) * np.uint64(factor % moduli[limb]) % prime
        return Ciphertext(parameters=self.parameters, parts=parts, form=one.form)

    def _saved(self, made: Any, scratch: Scratch, *, most_bytes: int) -> bytes:
        made.save(scratch.path)
        return self._decompress(scratch.read(), most_bytes=most_bytes)

    def _plain_modulus(self) -> int:
        self._need("bfv")
        assert self.parameters.plain_modulus is not None
        return self.parameters.plain_modulus

    def _need(self, scheme: Scheme) -> None:
        if self.parameters.scheme != scheme:
            raise ValueError(f"this is for {scheme}, and the key is for {self.parameters.scheme}")

    def _bits(self, limbs: int) -> float:
        return math.log2(math.prod(self.parameters.moduli[:limbs]))

    def __repr__(self) -> str:
        return f"SealLattice({self._key.id})"


def _check_rows(values: npt.NDArray[Any], dtype: np.dtype[Any], most: int) -> None:
    if values.dtype != dtype or values.ndim != 2 or not len(values) or not 1 <= values.shape[1] <= most:
        raise ValueError(f"values must be {dtype} [count, length], with at least one row and lengths up to {most}")
