"""The machine as training sees it: device, threads, determinism, memory."""

import ctypes
import ctypes.util
import os
import platform
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from job.errors import UserError

_M_MMAP_MAX = -4
_M_TRIM_THRESHOLD = -1
_PR_SET_PDEATHSIG = 1


def setup(device: str, threads: int) -> torch.device:
    """Choose the device and make the arithmetic repeatable.

    Deterministic algorithms only; `threads` CPU threads, because sums over another number of threads round differently.

    Raises:
        UserError: `cuda` was asked for and there is none.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise UserError("train.device=cuda, but no CUDA device is usable here: check nvidia-smi, or use auto or cpu")
    # cuBLAS reads this when it starts; without it deterministic mode refuses matrix products on a GPU.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    _end_with_parent()
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(mode=True)
    # Deterministic mode also fills every new tensor with a constant, to expose reads of memory nobody wrote. That is a
    # debugging aid which no result depends on, and it costs a pass over all memory.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    _keep_freed_memory()
    chosen = "cuda" if device == "auto" and torch.cuda.is_available() else device
    return torch.device("cpu" if chosen == "auto" else chosen)


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Run a block with torch's global generators set to `seed`, and put them back afterwards.

    Dropout and stochastic depth draw from the global generators; seeding each epoch by itself makes an epoch's draws
    independent of what ran before it.
    """
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        yield


def _end_with_parent() -> None:
    # Killing DVC alone would leave its child training, and writing over outputs that a later run has restored.
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _keep_freed_memory() -> None:
    # glibc returns large blocks to the system at every free and asks for them again at every allocation; each training
    # step then pays for fresh zeroed pages. Kept in the heap they are reused: twice the images per second on a CPU.
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(ctypes.util.find_library("c"))
        libc.mallopt(_M_MMAP_MAX, 0)
        libc.mallopt(_M_TRIM_THRESHOLD, -1)
