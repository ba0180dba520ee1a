"""torch's global generators, from which dropout and stochastic depth draw."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch


@contextmanager
def seeded(seed: int, device: torch.device, state: Sequence[torch.Tensor] = ()) -> Iterator[None]:
    """Run a block with the global generators set to `seed`, and restore them afterwards.

    Each epoch is seeded by itself, so that its draws do not depend on what ran before it.

    Args:
        seed: of the generators.
        device: its generator is set beside that of the CPU.
        state: what `rng_state` returned within an earlier block; the generators go on from there.
    """
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        if state:
            torch.set_rng_state(state[0])
            for gpu, gpu_state in zip(devices, state[1:], strict=True):
                torch.cuda.set_rng_state(gpu_state, gpu)
        yield


def rng_state(device: torch.device) -> list[torch.Tensor]:
    """States of the global generators: that of the CPU, then that of the GPU where `device` is one."""
    return [torch.get_rng_state(), *([torch.cuda.get_rng_state(device)] if device.type == "cuda" else [])]
