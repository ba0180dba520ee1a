"""The machine as a network sees it: device, threads, determinism, memory."""

import ctypes
import ctypes.util
import os
import platform

import torch

from job.errors import UserError
from job.params import Train

_M_MMAP_MAX = -4
_M_TRIM_THRESHOLD = -1


def setup(settings: Train, *, keep_memory: bool = False) -> torch.device:
    """Choose the device and make the arithmetic repeatable.

    It sets the number of CPU threads, because sums over another number of threads round differently, and deterministic
    algorithms, unless the parameters switch them off.

    Raises:
        UserError: `cuda` was asked for and there is none.
    """
    if settings.device == "cuda" and not torch.cuda.is_available():
        raise UserError("train.device=cuda, but no CUDA device is usable here: check nvidia-smi, or use auto or cpu")
    # cuBLAS reads this when it starts; without it deterministic mode refuses matrix products on a GPU.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.set_num_threads(settings.threads)
    torch.use_deterministic_algorithms(mode=settings.deterministic)
    # Deterministic mode also fills every new tensor with a constant, to expose reads of memory nobody wrote. That is a
    # debugging aid which no result depends on, and it costs a pass over all memory.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cudnn.benchmark = settings.cudnn_benchmark
    torch.backends.cudnn.allow_tf32 = settings.tf32
    torch.backends.cuda.matmul.allow_tf32 = settings.tf32
    if keep_memory and platform.libc_ver()[0] == "glibc":
        # glibc returns large blocks to the system at every free and asks for them again at every allocation; each
        # training step then pays for fresh zeroed pages. Kept in the heap they are reused.
        libc = ctypes.CDLL(ctypes.util.find_library("c"))
        libc.mallopt(_M_MMAP_MAX, 0)
        libc.mallopt(_M_TRIM_THRESHOLD, -1)
    chosen = "cuda" if settings.device == "auto" and torch.cuda.is_available() else settings.device
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
