"""SEAL as the oracle: its files, opened into residues and made from them."""

from __future__ import annotations

import itertools
import struct
from pathlib import Path

import numpy as np
import pytest

from wardline.he.parameters import Parameters

HEADER = struct.Struct("<HBBBBHQ")  # magic, header size, version, compression, unused, size
CIPHERTEXT = struct.Struct("<32sBQQQdQ")  # parms_id, NTT form, parts, degree, limbs, scale, correction factor


class Seal:
    """Keys and ciphertexts of one set of parameters, made by SEAL, which always keeps the last prime for keys alone."""

    def __init__(self, parameters: Parameters, folder: Path) -> None:
        import tenseal.sealapi as seal

        assert parameters.special is not None
        self.seal, self.parameters, self._folder, self._numbers = seal, parameters, folder, itertools.count()
        scheme = seal.SCHEME_TYPE.BFV if parameters.scheme == "bfv" else seal.SCHEME_TYPE.CKKS
        made = seal.EncryptionParameters(scheme)
        made.set_poly_modulus_degree(parameters.degree)
        made.set_coeff_modulus([seal.Modulus(one) for one in parameters.primes])
        if parameters.plain_modulus is not None:
            made.set_plain_modulus(parameters.plain_modulus)
        self.context = seal.SEALContext(made, True, seal.SEC_LEVEL_TYPE.TC128)
        self.generator = seal.KeyGenerator(self.context)
        self.secret = self.generator.secret_key()
        self.public = seal.PublicKey()
        self.generator.create_public_key(self.public)
        self.encryptor = seal.Encryptor(self.context, self.public, self.secret)
        self.decryptor = seal.Decryptor(self.context, self.secret)
        self.evaluator = seal.Evaluator(self.context)

    def path(self) -> str:
        return str(self._folder / str(next(self._numbers)))

    def body(self, thing) -> bytes:
        """What SEAL saves, without its outer header and compression."""
        import zstandard

        path = self.path()
        thing.save(path)
        data = Path(path).read_bytes()
        magic, size, _, _, mode, _, whole = HEADER.unpack_from(data)
        assert (magic, size, whole) == (0xA15E, 16, len(data))
        if mode == 0:
            return data[16:]
        assert mode == 2
        return zstandard.ZstdDecompressor().decompressobj().decompress(data[16:])

    def opened(self, thing) -> tuple[np.ndarray, tuple]:
        """The residues [parts, limbs, degree] of a ciphertext or public key, and its fields."""
        return parse(self.body(thing))

    def decrypted(self, residues: np.ndarray, fields: tuple) -> np.ndarray:
        """What SEAL decrypts a CKKS ciphertext to, [limbs, degree] in NTT form."""
        plain = self.seal.Plaintext()
        self.decryptor.decrypt(self.made(residues, fields), plain)
        return self.evaluations(plain)

    def evaluations(self, plain) -> np.ndarray:
        """The residues of a CKKS plaintext of the highest level, [limbs, degree]."""
        shape = len(self.parameters.moduli), self.parameters.degree
        body = self.body(plain)
        return np.frombuffer(body, dtype="<u8", offset=len(body) - 8 * shape[0] * shape[1]).reshape(shape).astype("u4")

    def keys(self, thing) -> list[np.ndarray | None]:
        """Relinearisation or Galois keys: [decomposition, 2, limbs, degree] for each place, or None."""
        body = self.body(thing)
        (places,) = struct.unpack_from("<Q", body, 32)
        offset, found = 40, []
        for _ in range(places):
            (size,) = struct.unpack_from("<Q", body, offset)
            offset += 8
            pieces = []
            for _ in range(size):
                # A public key, which is a ciphertext: each with a header of its own.
                whole = HEADER.unpack_from(body, offset)[-1]
                pieces.append(parse(body[offset + 16 : offset + whole])[0])
                offset += whole
            found.append(np.stack(pieces) if pieces else None)
        assert offset == len(body)
        return found

    def made(self, residues: np.ndarray, fields: tuple, *, scale: float | None = None):
        """SEAL's ciphertext of these residues, with the fields of another one."""
        parts, limbs, degree = residues.shape
        values = residues.astype("<u8").tobytes()
        array = HEADER.pack(0xA15E, 16, 4, 3, 0, 0, 16 + 8 + len(values)) + struct.pack("<Q", residues.size) + values
        head = CIPHERTEXT.pack(
            fields[0], fields[1], parts, degree, limbs, fields[5] if scale is None else scale, fields[6]
        )
        return self.loaded(head + array)

    def loaded(self, body: bytes):
        path = self.path()
        Path(path).write_bytes(HEADER.pack(0xA15E, 16, 4, 3, 0, 0, 16 + len(body)) + body)
        found = self.seal.Ciphertext()
        found.load(self.context, path)
        return found


def parse(body: bytes) -> tuple[np.ndarray, tuple]:
    fields = CIPHERTEXT.unpack_from(body)
    offset = CIPHERTEXT.size
    whole = HEADER.unpack_from(body, offset)[-1]
    (count,) = struct.unpack_from("<Q", body, offset + 16)
    values = np.frombuffer(body, dtype="<u8", count=count, offset=offset + 24)
    assert 24 + 8 * count == whole
    return values.reshape(-1, fields[4], fields[3]).astype(np.uint32), (*fields, body[offset + whole :])


@pytest.fixture
def seal(tmp_path):
    """Makes a `Seal` of parameters."""
    pytest.importorskip("tenseal")
    return lambda parameters: Seal(parameters, tmp_path)


@pytest.fixture
def residues():
    """Random residues [*leading, limbs, degree], the first few at both ends of their range."""
    generator = np.random.default_rng(5)

    def make(degree: int, moduli: tuple[int, ...], *leading: int) -> np.ndarray:
        found = np.stack([generator.integers(0, one, (*leading, degree), dtype=np.uint32) for one in moduli], axis=-2)
        found[..., :2] = np.array(moduli, dtype=np.uint32)[:, None] - 1
        found[..., 2:3] = 0
        return found

    return make
