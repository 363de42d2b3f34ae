"""BLAKE2Xb against published vectors and SEAL's uniform polynomials against SEAL, rejections among them."""

from __future__ import annotations

import hashlib
import struct

import numpy as np
import pytest

from wardline.he.kernels import expansion
from wardline.he.kernels.modular import constants
from wardline.he.parameters import Parameters, find_primes

MASK = (1 << 64) - 1
INITIAL = (
    0x6A09E667F3BCC908, 0xBB67AE8584CAA73B, 0x3C6EF372FE94F82B, 0xA54FF53A5F1D36F1,
    0x510E527FADE682D1, 0x9B05688C2B3E6C1F, 0x1F83D9ABFB41BD6B, 0x5BE0CD19137E2179,
)  # fmt: skip
SIGMA = (
    (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15),
    (14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3),
    (11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4),
    (7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8),
    (9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13),
    (2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9),
    (12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11),
    (13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10),
    (6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5),
    (10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0),
)
PLACES = (
    (0, 4, 8, 12), (1, 5, 9, 13), (2, 6, 10, 14), (3, 7, 11, 15),
    (0, 5, 10, 15), (1, 6, 11, 12), (2, 7, 8, 13), (3, 4, 9, 14),
)  # fmt: skip

# Of the BLAKE2 authors' test vectors (blake2-kat.json, hash blake2xb): input and key are 0, 1, 2, ...
PUBLISHED_65 = (
    "78f0ed6e220b3da3cc9381563b2f72c8dc830cb0f39a48c6ae479a6a78dcfa94002631dec467e9e9b47cc8f0887eb680"
    "e340aec3ec009d4a33d241533c76c8ca8c"
)
PUBLISHED_256_SHA256 = "0d50570058d54ab053a363808b0615e7b937eb7c2f80c707ca30e6a9af4ce1cf"

# Found by trying some 2.5 million seeds: one of its first 3 * 4096 words is above 2^64 - 0.96 * 2^31.
REJECTED_SEED = (2503660).to_bytes(64, "little")
REJECTING_PRIMES = (2146492417, 2145976321, 2145312769)


def blake2b(parameters: bytes, data: bytes, size: int) -> bytes:
    """BLAKE2b from its specification (RFC 7693), under any parameter block."""
    h = [one ^ other for one, other in zip(INITIAL, struct.unpack("<8Q", parameters), strict=True)]
    blocks = [data[i : i + 128] for i in range(0, len(data), 128)] or [b""]
    for number, block in enumerate(blocks):
        last = number == len(blocks) - 1
        m = struct.unpack("<16Q", block.ljust(128, b"\0"))
        v = h + list(INITIAL)
        v[12] ^= 128 * number + len(block)
        v[14] ^= MASK if last else 0
        for turn in range(12):
            for k, (a, b, c, d) in enumerate(PLACES):
                for message, first, second in ((0, 32, 24), (1, 16, 63)):
                    v[a] = (v[a] + v[b] + m[SIGMA[turn % 10][2 * k + message]]) & MASK
                    v[d] = rotated(v[d] ^ v[a], first)
                    v[c] = (v[c] + v[d]) & MASK
                    v[b] = rotated(v[b] ^ v[c], second)
        h = [h[i] ^ v[i] ^ v[i + 8] for i in range(8)]
    return struct.pack("<8Q", *h)[:size]


def rotated(value: int, by: int) -> int:
    return (value >> by | value << (64 - by)) & MASK


def blake2xb(data: bytes, key: bytes, size: int) -> bytes:
    root = struct.pack("<4BIII2B46x", 64, len(key), 1, 1, 0, 0, size, 0, 0)
    digest = blake2b(root, key.ljust(128, b"\0") + data, 64)
    out = b""
    while len(out) < size:
        length = min(64, size - len(out))
        node = struct.pack("<4BIII2B46x", length, 0, 0, 0, 64, len(out) // 64, size, 0, 64)
        out += blake2b(node, digest, length)
    return out


def test_the_reference_gives_the_published_vectors() -> None:
    data, key = bytes(range(256)), bytes(range(64))
    assert blake2xb(data, key, 65).hex() == PUBLISHED_65
    assert hashlib.sha256(blake2xb(data, key, 256)).hexdigest() == PUBLISHED_256_SHA256


def test_the_keystream_is_blake2xb_of_a_counter() -> None:
    seed = np.random.default_rng(0).integers(0, 256, 64, dtype=np.uint8)
    found = expansion.keystream(seed, 3, first=254)
    for row, counter in enumerate((254, 255, 256)):
        assert found[row].tobytes() == blake2xb(struct.pack("<Q", counter), seed.tobytes(), 4096)
    assert expansion.keystream(seed, 0).shape == (0, 4096)


def sampled(words: list[int], moduli: tuple[int, ...], limits: list[int], degree: int) -> list[list[int]]:
    """SEAL's sampling of uniform polynomials, from an endless stream of words."""
    total = len(moduli) * degree
    following = iter(words[total:])
    out = []
    for limb, prime in enumerate(moduli):
        out.append([])
        for word in words[limb * degree : (limb + 1) * degree]:
            while word >= limits[limb]:
                word = next(following)
            out[-1].append(word % prime)
    return out


@pytest.mark.parametrize("share", [0.5, 0.002, 0.0])
def test_rejected_words_are_replaced_in_order(share: float) -> None:
    """With limits so low that many words are rejected, several in a row and out of several further buffers."""
    degree, moduli = 1024, find_primes(1024, (25, 31, 20))
    limits = [MASK - int(MASK * share) - limb * 1000 for limb in range(3)]
    seeds = np.random.default_rng(4).integers(0, 256, (3, 64), dtype=np.uint8)
    out = np.empty((3, 3, degree), dtype=np.uint32)
    expansion._expand(seeds.view(np.uint64), constants(moduli), np.array(limits, dtype=np.uint64), out)
    for seed, found in zip(seeds, out, strict=True):
        words = expansion.keystream(seed, 40).view(np.uint64).reshape(-1).tolist()
        rejected = sum(word >= limits[0] for word in words[: 3 * degree])
        assert (rejected > 1000) if share == 0.5 else (rejected > 0) == (share > 0)
        assert found.tolist() == sampled(words, moduli, limits, degree)


def test_many_seeds_and_threads() -> None:
    moduli = find_primes(4096, (25, 31))
    parameters = Parameters(scheme="ckks", degree=4096, moduli=moduli)
    seeds = np.random.default_rng(1).integers(0, 256, (5, 64), dtype=np.uint8)
    found = expansion.expand(seeds, parameters)
    assert (expansion.expand(seeds, parameters, threads=3) == found).all()
    assert (expansion.expand(seeds[3:4], parameters)[0] == found[3]).all()
    assert expansion.expand(seeds[:0], parameters).shape == (0, 2, 4096)
    words = expansion.keystream(seeds[2], 16).view(np.uint64).reshape(2, 4096)
    assert (found[2] == words % np.array(moduli, dtype=np.uint64)[:, None]).all()


def test_a_seed_for_which_seal_rejects() -> None:
    parameters = Parameters(scheme="ckks", degree=4096, moduli=REJECTING_PRIMES)
    seed = np.frombuffer(REJECTED_SEED, dtype=np.uint8)
    words = expansion.keystream(seed, 25).view(np.uint64).reshape(-1).tolist()
    limits = [MASK - MASK % prime - 1 for prime in REJECTING_PRIMES]
    places = [place for place in range(3 * 4096) if words[place] >= limits[place // 4096]]
    assert len(places) == 1, "the one that the seed was chosen for"
    found = expansion.expand(seed[None], parameters)[0]
    assert found.tolist() == sampled(words, REJECTING_PRIMES, limits, 4096)
    limb, place = divmod(places[0], 4096)
    assert found[limb, place] == words[3 * 4096] % REJECTING_PRIMES[limb] != words[places[0]] % REJECTING_PRIMES[limb]


def test_bad_arguments_are_refused() -> None:
    parameters = Parameters(scheme="ckks", degree=4096, moduli=REJECTING_PRIMES)
    with pytest.raises(ValueError, match="64"):
        expansion.expand(np.zeros((2, 63), dtype=np.uint8), parameters)
    with pytest.raises(ValueError, match="threads"):
        expansion.expand(np.zeros((2, 64), dtype=np.uint8), parameters, threads=0)
    with pytest.raises(TypeError, match="bytes"):
        expansion.expand(np.zeros((2, 64), dtype=np.int64), parameters)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="64 bytes"):
        expansion.keystream(np.zeros(63, dtype=np.uint8), 1)


@pytest.mark.crosscheck
@pytest.mark.parametrize("scheme", ["bfv", "ckks"])
@pytest.mark.parametrize("rejected", [False, True])
def test_seal_expands_the_same(seal, scheme: str, rejected: bool) -> None:
    """A seeded file goes through SEAL and comes out with both polynomials."""
    plain_modulus = 1 << 20 if scheme == "bfv" else None
    parameters = Parameters(
        scheme=scheme, degree=4096, moduli=REJECTING_PRIMES, special=40961, plain_modulus=plain_modulus
    )
    oracle = seal(parameters)
    plain = oracle.seal.Plaintext()
    if scheme == "bfv":
        plain = oracle.seal.Plaintext("1x^5 + 3")
    else:
        oracle.seal.CKKSEncoder(oracle.context).encode([1.0], 2.0**20, plain)
    body = oracle.body(oracle.encryptor.encrypt_symmetric(plain))
    if rejected:
        body = body[:-64] + REJECTED_SEED
    seed = np.frombuffer(body[-64:], dtype=np.uint8)
    parts, _ = oracle.opened(oracle.loaded(body))
    assert parts.shape == (2, 3, 4096)
    assert (expansion.expand(seed[None], parameters)[0] == parts[1]).all()
