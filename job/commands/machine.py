"""What `doctor` finds of the machine itself: memory, disk, device."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from job.params import Params

GIB = 2**30
FOLD_MEMORY = 1.5 * GIB
"""What one fold of the demo takes, with a margin (measured: 1.3 GB); batches at 450 px take more."""


@dataclass(frozen=True)
class Finding:
    """One line of the report; `remedy` says what to do, and is empty where nothing is to be done."""

    state: Literal["ok", "note", "wrong"]
    name: str
    found: str
    remedy: str = ""


def memory(available: float) -> Finding:
    """Whether `available` bytes hold a fold, and a fold per core."""
    found = f"{available / GIB:.1f} GiB available, {len(os.sched_getaffinity(0))} cores"
    if available < FOLD_MEMORY:
        return Finding(
            "wrong", "memory", found,
            f"a fold of the demo needs {FOLD_MEMORY / GIB:.1f} GiB: end other programs, or raise the container's limit",
        )  # fmt: skip
    fit = int(available // FOLD_MEMORY)
    if fit < len(os.sched_getaffinity(0)):
        return Finding("note", "memory", found, f"fewer folds fit than there are cores: make report JOBS={fit}")
    return Finding("ok", "memory", found)


def available_memory() -> float:
    """Bytes that a new process may have: what the machine has left, or less where a control group limits it."""
    text = Path("/proc/meminfo").read_text(encoding="ascii")
    available = 1024.0 * int(re.findall(r"MemAvailable:\s+(\d+)", text)[0])
    limit, used = (Path("/sys/fs/cgroup", name) for name in ("memory.max", "memory.current"))
    if limit.is_file() and (bound := limit.read_text(encoding="ascii").strip()) != "max":
        available = min(available, float(bound) - float(used.read_text(encoding="ascii")))
    return available


def shared_memory(free: float, gpus: list[str]) -> Finding:
    """Whether several GPUs could share a fold."""
    found = f"{free / GIB:.2f} GiB in /dev/shm"
    if len(gpus) > 1 and free < GIB:
        return Finding("note", "shared mem.", found, "several GPUs on one fold talk through it: --shm-size=1g")
    return Finding("ok", "shared mem.", f"{found}; the job has no worker processes that would need it")


def disk(free: float) -> Finding:
    """Whether `free` bytes hold what the pipeline writes."""
    found = f"{free / GIB:.1f} GiB free here"
    if free < 2 * GIB:
        return Finding("wrong", "disk", found, "free some space; old runs leave the cache with: dvc gc --workspace")
    if free < 10 * GIB:
        return Finding("note", "disk", found, "enough for the demo; C-NMC at 450 px with five folds of B0 takes 10 GiB")
    return Finding("ok", "disk", found)


def device(values: Params) -> Finding:
    """What networks will run on, and why it is not the GPU that the driver sees."""
    driver = gpus()
    if torch.cuda.is_available():
        memory = torch.cuda.get_device_properties(0).total_memory / GIB
        count = torch.cuda.device_count()
        found = f"{count} x {torch.cuda.get_device_name(0)}, {memory:.0f} GiB, driver {driver[0] if driver else '?'}"
        return Finding("ok", "device", found)
    if driver:
        return Finding(
            "wrong" if values.train.device == "cuda" else "note",
            "device", f"the driver ({driver[0]}) sees a GPU that torch {torch.__version__} cannot use",
            f"torch was built for CUDA {torch.version.cuda}: take a newer driver, or set train.device=cpu",
        )  # fmt: skip
    if values.train.device == "cuda":
        return Finding(
            "wrong", "device", "train.device=cuda, but there is no GPU here",
            "in a container: docker run --gpus all …; otherwise train.device=auto or cpu",
        )  # fmt: skip
    return Finding("ok", "device", "the CPU; no NVIDIA driver here")


def gpus() -> list[str]:
    """Driver version of each GPU that the driver sees."""
    return (output("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader") or "").split()


def free(folder: str) -> float:
    """Free bytes of the file system that holds a folder; zero where there is no such folder."""
    try:
        return float(shutil.disk_usage(folder).free)
    except FileNotFoundError:
        return 0.0


def output(*command: str) -> str | None:
    """Standard output of a command, or None where it fails or is not installed."""
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (FileNotFoundError, subprocess.CalledProcessError):
        return None
