"""torch's global generators, from which dropout and stochastic depth draw."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Run a block with the global generators set to `seed`, and restore them afterwards.

    Each epoch is seeded by itself, so that its draws do not depend on what ran before it.
    """
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        yield


def rng_state(device: torch.device) -> list[torch.Tensor]:
    """States of the global generators: that of the CPU, then that of the GPU where `device` is one."""
    return [torch.get_rng_state(), *([torch.cuda.get_rng_state(device)] if device.type == "cuda" else [])]


def set_rng_state(state: list[torch.Tensor], device: torch.device) -> None:
    """Let the global generators go on from `state`, which `rng_state` returned."""
    torch.set_rng_state(state[0])
    if device.type == "cuda":
        torch.cuda.set_rng_state(state[1], device)
