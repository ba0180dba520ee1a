"""The machine as training sees it: device, threads, determinism, memory."""

import ctypes
import ctypes.util
import os
import platform
import signal
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from job.errors import StoppedError, UserError
from job.params import Train

_M_MMAP_MAX = -4
_M_TRIM_THRESHOLD = -1


def setup(params: Train, *, keep_memory: bool = False) -> torch.device:
    """Choose the device and make the arithmetic repeatable.

    `threads` CPU threads, because sums over another number of threads round differently; deterministic algorithms,
    unless the parameters say otherwise.

    Raises:
        UserError: `cuda` was asked for and there is none.
    """
    if params.device == "cuda" and not torch.cuda.is_available():
        raise UserError("train.device=cuda, but no CUDA device is usable here: check nvidia-smi, or use auto or cpu")
    # cuBLAS reads this when it starts; without it deterministic mode refuses matrix products on a GPU.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.set_num_threads(params.threads)
    torch.use_deterministic_algorithms(mode=params.deterministic)
    # Deterministic mode also fills every new tensor with a constant, to expose reads of memory nobody wrote. That is a
    # debugging aid which no result depends on, and it costs a pass over all memory.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cudnn.benchmark = params.cudnn_benchmark
    torch.backends.cudnn.allow_tf32 = params.tf32
    torch.backends.cuda.matmul.allow_tf32 = params.tf32
    if keep_memory:
        _keep_freed_memory()
    chosen = "cuda" if params.device == "auto" and torch.cuda.is_available() else params.device
    return torch.device("cpu" if chosen == "auto" else chosen)


def resolve_precision(precision: str, device: torch.device) -> str:
    """What `train.precision=auto` means on a device: a fixed table, never timed.

    A CPU without bf16 instructions trains no faster in it. On CUDA half precision is what tensor cores are
    for; bf16 needs no scaling of the loss, and exists from compute capability 8.0 on.
    """
    if precision != "auto":
        return precision
    if device.type == "cpu":
        return "fp32"
    return "bf16" if torch.cuda.get_device_capability(device) >= (8, 0) else "fp16"


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


def noise_state(device: torch.device) -> list[torch.Tensor]:
    """States of the generators that `seeded` has set, in the middle of its block."""
    return [torch.get_rng_state(), *([torch.cuda.get_rng_state(device)] if device.type == "cuda" else [])]


def set_noise_state(state: list[torch.Tensor], device: torch.device) -> None:
    """Go on drawing where `noise_state` was asked."""
    torch.set_rng_state(state[0])
    if device.type == "cuda":
        torch.cuda.set_rng_state(state[1], device)


class Stop:
    """Remembers that a signal asked the process to end, so that it ends between two batches with its work saved."""

    def __init__(self, remedy: str) -> None:
        self._remedy = remedy
        self._number = 0

    def listen(self) -> None:
        """Take SIGTERM and Ctrl-C; a second Ctrl-C ends the process at once."""
        signal.signal(signal.SIGTERM, self._note)
        signal.signal(signal.SIGINT, self._note)

    def check(self) -> None:
        """Raise `StoppedError` after a signal."""
        if self._number:
            raise StoppedError(self._number, self._remedy)

    def _note(self, number: int, _frame: object) -> None:
        # Ctrl-C reaches every process of the terminal, and the end of the parent brings a SIGTERM on top of it.
        if number == signal.SIGINT == self._number:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            raise KeyboardInterrupt
        self._number = self._number or number


def _keep_freed_memory() -> None:
    # glibc returns large blocks to the system at every free and asks for them again at every allocation; each training
    # step then pays for fresh zeroed pages. Kept in the heap they are reused.
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(ctypes.util.find_library("c"))
        libc.mallopt(_M_MMAP_MAX, 0)
        libc.mallopt(_M_TRIM_THRESHOLD, -1)
