"""How fast this machine encrypts and decrypts: measured with SEAL, once a process. No server needs it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from wardline.core import Seeds
from wardline.he.ciphertext import Ciphertext
from wardline.he.parameters import Parameters, find_primes

_DEGREE, _BITS, _COUNT, _TURNS = 4096, (31, 26, 26), 4, 3


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientSpeeds:
    """Seconds of one processor for one coefficient in one limb.

    Attributes:
        encrypted: of a fresh ciphertext.
        decrypted: of an answer, its numbers' decoding counted as one limb more.
    """

    encrypted: float
    decrypted: float


@lru_cache(maxsize=1)
def measure_client_speeds() -> ClientSpeeds:
    """Encrypt and decrypt a few ciphertexts under a key that is then forgotten; a process does it once.

    Raises:
        MissingExtraError: if SEAL's library is not installed.
    """
    from wardline.he.kernels.expansion import expand
    from wardline.he.seal.bridge import SealLattice

    parameters = Parameters(scheme="ckks", degree=_DEGREE, moduli=find_primes(_DEGREE, _BITS))
    lattice = SealLattice.generate(parameters)
    values = Seeds(0).numpy("he.cost").uniform(-1.0, 1.0, (_COUNT, _DEGREE // 2))
    size = _COUNT * len(_BITS) * _DEGREE
    encrypted = decrypted = float("inf")
    for _ in range(_TURNS):
        began = time.thread_time()
        sent = lattice.encrypt_slots(values, scale=2.0**24)
        encrypted = min(encrypted, (time.thread_time() - began) / size)
        parts = np.stack([sent.c0, expand(sent.seeds, parameters)], axis=1)
        replies = [Ciphertext(parameters=parameters, parts=one, form="evaluations", scale=2.0**24) for one in parts]
        began = time.thread_time()
        lattice.decrypt_slots(replies)
        decrypted = min(decrypted, (time.thread_time() - began) / (size + _COUNT * _DEGREE))
    return ClientSpeeds(encrypted=encrypted, decrypted=decrypted)
