"""Random generators derived from (seed, purpose …), so that no draw depends on what was drawn before it elsewhere.

A derived generator needs no saved state: a restarted epoch derives the generator of that epoch again.
"""

import hashlib

import numpy as np


def derive(seed: int, *purpose: str | int) -> int:
    """A 63-bit seed for one purpose, such as `derive(42, "order", "fold", 3, "epoch", 7)`."""
    text = "/".join([str(seed), *map(str, purpose)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator(seed: int, *purpose: str | int) -> np.random.Generator:
    """A NumPy generator (PCG64) for one purpose."""
    return np.random.default_rng(derive(seed, *purpose))
