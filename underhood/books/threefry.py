"""The random numbers of Nx, Elixir's tensors, in NumPy: chapter 11's weights begin with them.

Nx took the generator from JAX as JAX had it before its partitionable form: threefry-2x32, a keyed scramble of counters
(Salmon and others, "Parallel random numbers: as easy as 1, 2, 3", 2011). A key is two 32-bit words. Nothing is hidden:
equal keys draw equal numbers, and whoever needs more numbers splits the key.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.special import erfinv

Words = NDArray[np.uint32]

ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))  # bits, for even and odd groups of four rounds
PARITY = 0x1BD11BDA  # from the paper


def key(seed: int) -> Words:
    """A key from a seed of up to 64 bits: its high and its low word, uint32 [2]."""
    return np.array([seed >> 32, seed & 0xFFFFFFFF], np.uint32)


def split(key: Words) -> tuple[Words, Words]:
    """Two new keys: (next key, key to draw with)."""
    first, second = bits(key, 4).reshape(2, 2)
    return first, second


def bits(key: Words, n: int) -> Words:
    """n random words, uint32 [n]: counters 0 … n − 1, the first half scrambled together with the second."""
    counters = np.arange(n + n % 2, dtype=np.uint32)
    counters[n:] = 0  # an odd count is filled up with a zero
    return np.concatenate(_scramble(key, *np.split(counters, 2)))[:n]


def uniform(key: Words, shape: tuple[int, ...], low: float, high: float) -> NDArray[np.float32]:
    """Uniform float32 from ``low`` on, below ``high``: 23 random bits become the fraction of a float from 1 to 2."""
    floats = (bits(key, int(np.prod(shape))) >> np.uint32(9) | np.uint32(0x3F800000)).view(np.float32) - np.float32(1)
    span = np.float32(high) - np.float32(low)
    return np.maximum(np.float32(low), floats * span + np.float32(low)).reshape(shape)


def normal(key: Words, mean: float, deviation: float, shape: tuple[int, ...]) -> tuple[NDArray[np.float32], Words]:
    """Normal float32 numbers, and the key for the next draw."""
    next_key, mine = split(key)
    above_minus_one = np.nextafter(np.float32(-1), np.float32(0))
    standard = np.float32(np.sqrt(2)) * erfinv(uniform(mine, shape, above_minus_one, 1)).astype(np.float32)
    return standard * np.float32(deviation) + np.float32(mean), next_key


def chapter11_weights(hidden: int = 200) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The first weights of chapter 11's network: key 1234, w1 [785, hidden], then w2 [hidden + 1, 10]."""
    w1, next_key = normal(key(1234), 0.0, 0.01, (785, hidden))
    w2, _ = normal(next_key, 0.0, 0.01, (hidden + 1, 10))
    return w1, w2


def _scramble(key: Words, x0: Words, x1: Words) -> tuple[Words, Words]:
    """Twenty rounds of add, rotate and exclusive-or, with the key mixed in after every four. Words wrap at 32 bits."""
    keys = key[0], key[1], key[0] ^ key[1] ^ np.uint32(PARITY)
    x0, x1 = x0 + keys[0], x1 + keys[1]
    for group in range(5):
        for rotation in ROTATIONS[group % 2]:
            x0 = x0 + x1
            x1 = (x1 << np.uint32(rotation) | x1 >> np.uint32(32 - rotation)) ^ x0
        x0 = x0 + keys[(group + 1) % 3]
        x1 = x1 + keys[(group + 2) % 3] + np.uint32(group + 1)
    return x0, x1
