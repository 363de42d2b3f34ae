"""SEAL's context for our parameters, and what it calls their levels."""

from __future__ import annotations

import struct
from typing import Any, final

from wardline.core import need
from wardline.he.parameters import Parameters, is_prime
from wardline.he.seal.files import Level


@final
class Context:
    """SEAL set up for parameters.

    SEAL always keeps its last prime for switching keys and encrypts modulo the others. Where `parameters.special` is
    None, a prime is therefore added that nobody but SEAL sees: nothing modulo it ever leaves the client (the public
    key is cut down to `moduli`), so that what an attacker holds are samples modulo the product of the moduli, which
    the table of 128 bits is kept for. SEAL is asked for its own opinion on those.

    Raises:
        ValueError: if SEAL refuses the parameters.
        MissingExtraError: if it is not installed.
    """

    __slots__ = ("handle", "key_level", "levels", "parameters", "seal")

    def __init__(self, parameters: Parameters) -> None:
        self.seal: Any = need("tenseal.sealapi", extra="he")
        self.parameters = parameters
        levels = self.seal.SEC_LEVEL_TYPE
        published = self._make(parameters.primes, security=levels.TC128)
        if parameters.special is None:
            hidden = _smallest_other_prime(parameters)
            self.handle = self._make((*parameters.moduli, hidden), security=levels.NONE)
        else:
            self.handle = published
        self.key_level = self._level(self.handle.key_context_data())
        self.levels: dict[int, Level] = {}
        data = self.handle.first_context_data()
        while data is not None:
            level = self._level(data)
            self.levels[level.limbs] = level
            data = data.next_context_data()

    @property
    def primes(self) -> tuple[int, ...]:
        """All primes of the key level, the one for switching last, hidden or not."""
        return tuple(int(one.value()) for one in self.handle.key_context_data().parms().coeff_modulus())

    def _make(self, primes: tuple[int, ...], *, security: Any) -> Any:
        seal, wanted = self.seal, self.parameters
        settings = seal.EncryptionParameters(seal.SCHEME_TYPE.BFV if wanted.scheme == "bfv" else seal.SCHEME_TYPE.CKKS)
        settings.set_poly_modulus_degree(wanted.degree)
        settings.set_coeff_modulus([seal.Modulus(prime) for prime in primes])
        if wanted.plain_modulus is not None:
            settings.set_plain_modulus(seal.Modulus(wanted.plain_modulus))
        context = seal.SEALContext(settings, True, security)
        if not context.parameters_set():
            raise ValueError(f"SEAL refuses these parameters: {context.parameters_error_message()}")
        return context

    def _level(self, data: Any) -> Level:
        return Level(
            name=struct.pack("<4Q", *data.parms_id()),
            limbs=len(data.parms().coeff_modulus()),
            degree=self.parameters.degree,
        )


def _smallest_other_prime(parameters: Parameters) -> int:
    step = 2 * parameters.degree
    candidate = step + 1
    while candidate in (*parameters.moduli, parameters.plain_modulus) or not is_prime(candidate):
        candidate += step
    return candidate
