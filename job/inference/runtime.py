"""The machine as a network sees it: device, threads, determinism, memory."""

import ctypes
import os
import platform
from pathlib import Path

import torch

from job.errors import UserError
from job.params import Train

_M_MMAP_MAX = -4
_M_TRIM_THRESHOLD = -1
DEVICES = Path("/dev")
"""Where an NVIDIA driver shows its GPUs as `nvidia0`, `nvidia1` …, whether torch can use them or not."""


def setup(settings: Train, *, keep_memory: bool = False) -> torch.device:
    """Choose the device and make the arithmetic repeatable.

    It sets the number of CPU threads, because sums over another number of threads round differently, and deterministic
    algorithms, unless the parameters switch them off. A UserError says that a GPU is here that torch cannot use, or
    that there is none and `cuda` was asked for.
    """
    if settings.device != "cpu" and (problem := unusable_gpu()):
        raise UserError(f"{problem}, or use the CPU: train.device=cpu, in `predict` --device cpu")
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
        libc = ctypes.CDLL(None)
        libc.mallopt(_M_MMAP_MAX, 0)
        libc.mallopt(_M_TRIM_THRESHOLD, -1)
    chosen = "cuda" if settings.device == "auto" and torch.cuda.is_available() else settings.device
    return torch.device("cpu" if chosen == "auto" else chosen)


def unusable_gpu(*, seen: bool = False) -> str:
    """Why torch cannot use the GPU of this machine, and what to do about that; empty where it can, or there is none.

    `auto` would otherwise train on the CPU for days: to torch a driver that is too old is as none at all. And of a card
    that is too old torch says only in its first operation that it has no code for it. `seen` says that the driver
    answers, where its devices have other names (WSL).
    """
    if torch.cuda.is_available():
        card, codes = torch.cuda.get_device_capability(), torch.cuda.get_arch_list()
        oldest = min(((int(code[3:-1]), int(code[-1])) for code in codes if code[3:].isdigit()), default=card)
        if card >= oldest:
            return ""
        numbers = " and ".join(f"{major}.{minor}" for major, minor in (card, oldest))
        name = torch.cuda.get_device_name()
        return f"{name} is too old for torch {torch.__version__} (compute capabilities {numbers}): take a newer card"
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1", "none", "NoDevFiles")  # on purpose
    if hidden or not (seen or any(DEVICES.glob("nvidia[0-9]*"))):
        return ""
    driver = f"a driver for CUDA {torch.version.cuda}, and the right to it"
    need = driver if torch.version.cuda else "the build for CUDA"
    return f"there is a GPU here that torch {torch.__version__} cannot use: it needs {need}"


def describe(device: torch.device) -> str:
    """A device as a person calls it."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    threads = torch.get_num_threads()
    return f"the CPU, {threads} thread{'s' * (threads > 1)}"
