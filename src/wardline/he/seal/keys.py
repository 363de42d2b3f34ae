"""A handle of a secret key. It encrypts and decrypts; it cannot be printed, copied, pickled or sent anywhere."""

from __future__ import annotations

from typing import Any, Self, final

import numpy as np

from wardline.core import SecureRandom
from wardline.core.errors import IntegrityError
from wardline.core.one_place import OnePlace
from wardline.he.ciphertext import Residues
from wardline.he.parameters import Parameters
from wardline.he.seal.context import Context
from wardline.he.seal.files import Decompressor, plaintext_head, read_plaintext
from wardline.he.seal.scratch import Scratch

ID_BYTES = 16


@final
class SecretKey(OnePlace):
    """A handle of a secret key that SEAL drew or was given.

    Attributes:
        context: SEAL's context that it belongs to.
        id: 32 hexadecimal digits, drawn with the key: a name, which tells nothing about it.

    Guarantee: no code path of this class puts secret bytes into text, logs, exceptions or files. It is a guard against
    accidents, not against hostile code in the same process, which can read its memory.
    """

    __slots__ = ("_secret", "context", "id")

    def __init__(self, context: Context, secret: Any, *, key_id: str) -> None:
        self.context = context
        self.id = key_id
        self._secret = secret

    @classmethod
    def generate(cls, parameters: Parameters) -> Self:
        """A fresh key, ternary and uniform, drawn by SEAL from the operating system's randomness.

        Raises:
            ValueError: if SEAL refuses the parameters.
            MissingExtraError: if SEAL is not installed.
        """
        context = Context(parameters)
        secret = context.seal.KeyGenerator(context.handle).secret_key()
        return cls(context, secret, key_id=SecureRandom().bytes(ID_BYTES).hex())

    @property
    def parameters(self) -> Parameters:
        """What it encrypts under."""
        return self.context.parameters

    def __repr__(self) -> str:
        return f"SecretKey({self.id})"


def unsafe_secret(key: SecretKey) -> Any:
    """SEAL's own object for the secret: for the code of this package that hands it to SEAL, and nobody else."""
    return key._secret


def unsafe_export_residues(key: SecretKey) -> Residues:
    """The secret itself, by evaluations, modulo all primes of the key level: [primes, degree].

    Whoever holds it can decrypt. Python cannot wipe memory: copies stay in the process until they are overwritten.
    """
    level = key.context.key_level
    count = level.limbs * level.degree
    with Scratch() as scratch:
        key._secret.save(scratch.path)
        content = Decompressor()(scratch.read(), most_bytes=len(plaintext_head(count)) + 8 * count)
    words, _ = read_plaintext(content, level=level.name, most=count)
    return words.astype(np.uint32).reshape(level.limbs, level.degree)


def unsafe_import_residues(context: Context, residues: Residues, *, key_id: str) -> SecretKey:
    """The key whose residues were exported.

    Raises:
        IntegrityError: for residues of another shape, or not below their primes. SEAL never sees those.
    """
    level = context.key_level
    primes = np.array(context.primes, dtype=np.uint32)
    if residues.shape != (level.limbs, level.degree) or (residues >= primes[:, None]).any():
        raise IntegrityError("these residues are no secret key of these parameters")
    wide = residues.astype("<u8")
    secret = context.seal.SecretKey()
    with Scratch() as scratch:
        scratch.write([plaintext_head(wide.size, level=level.name), wide.reshape(-1).data.cast("B")])
        secret.load(context.handle, scratch.path)
    wide.fill(0)
    return SecretKey(context, secret, key_id=key_id)
