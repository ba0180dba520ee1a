"""`python -m job doctor`: is this machine ready for the job? Every line comes with what to do when it is wrong.

It runs in a bare Python, before the packages are installed. The checks here need the standard library alone; those
that need the packages are in `setup`.
"""

from __future__ import annotations

import getpass
import importlib.util
import json
import os
import platform
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NamedTuple

from job.commands.machine import gpus, output, version
from job.errors import UserError

GIB = 2**30
PACKAGES = 7 * GIB  # measured: 6.6 GiB, nearly all of it CUDA libraries
CPU_PACKAGES = 2 * GIB  # with CPU=1: without nvidia (3.1 GiB), triton (0.9) and half of torch (0.5)
RUN = 2 * GIB  # what `make report` writes, with a margin
FOLD_MEMORY = 1.5 * GIB  # one fold of the demo, with a margin (measured: 1.3 GB)
LOCK = Path("requirements.lock")
RWLOCK = Path(".dvc/tmp/rwlock")


class Finding(NamedTuple):
    """The answer of one check; `remedy` says what to do, and is empty where there is nothing to do."""

    state: Literal["ok", "note", "wrong"]
    text: str
    remedy: str = ""


def run() -> str:
    """Print one line for each check; a UserError names those that would stop the job."""
    wrong = []
    for name, finding in _findings():
        remedy = f"\n{'':19}{finding.remedy}" if finding.remedy else ""
        print(f"{finding.state:<6} {name:<11} {finding.text}{remedy}", flush=True)
        if finding.state == "wrong":
            wrong.append(name)
    if wrong:
        raise UserError(f"not ready: {', '.join(wrong)}; what to do stands above")
    return "ready" if installed() else "ready to install: make report"


def _findings() -> Iterator[tuple[str, Finding]]:
    interpreter = python()
    yield "Python", interpreter
    if interpreter.state == "wrong":
        return
    yield "repository", repository()
    yield "home", home()
    yield "locks", locks()
    yield "memory", memory(available_memory())
    yield "disk", disk(shutil.disk_usage(".").free, installed=installed())
    text = "make report: about 5 minutes on two cores without a GPU, after the installation"
    yield "time", Finding("ok", text if installed() else f"{text} of 7 GiB, or of 2 GiB with CPU=1")
    yield "packages", packages()
    if installed():
        yield from importlib.import_module("job.commands.setup").findings()
    else:
        driver = gpus()
        text = f"NVIDIA driver {driver[0]}" if driver else "the CPU; no NVIDIA driver here: take CPU=1"
        yield "device", Finding("ok", text)


def python() -> Finding:
    """Whether this interpreter and operating system can run the job."""
    text = f"Python {platform.python_version()} on {platform.system()}"
    if platform.system() != "Linux":
        return Finding("wrong", text, "the job runs on Linux: use WSL 2, another machine or the container")
    if tuple(sys.version_info) < (3, 11):
        return Finding("wrong", text, "3.11 or newer is needed; name it with: make PYTHON=python3.12")
    return Finding("ok", text)


def repository() -> Finding:
    """Whether this folder is a Git work tree that the user may write to."""
    if shutil.which("git") is None:
        return Finding("wrong", "git is not installed", "on Debian and Ubuntu: apt-get install git")
    git = output("git", "rev-parse", "--is-inside-work-tree", "--is-shallow-repository")
    if git is None:
        remedy = "clone the repository instead of copying it; where it belongs to another user: "
        remedy += f"git config --global --add safe.directory {Path.cwd()}"
        return Finding("wrong", "Git does not accept this folder", remedy)
    if not os.access(".", os.W_OK):
        remedy = 'in a container: docker run --user "$(id -u):$(id -g)" …'
        return Finding("wrong", f"user {os.getuid()} may not write to {Path.cwd()}", remedy)
    if git.endswith("true"):
        return Finding("note", "a shallow clone", "dvc exp needs the history: git fetch --unshallow")
    return Finding("ok", "a Git work tree that this user may write to")


def home() -> Finding:
    """Whether this user has a home folder and a name, without which DVC and torch stop."""
    try:
        return Finding("ok", f"{Path.home()}, of {getpass.getuser()}")
    except (RuntimeError, KeyError, OSError):
        text = f"user {os.getuid()} has no home folder or no name, and DVC and torch need both"
        return Finding("wrong", text, "export HOME=/a/folder/of/yours USER=anybody")


def locks() -> Finding:
    """Whether files can be locked here, and whether DVC's own list of locks names processes that do not run.

    DVC removes the entry of a process that is gone. Of a container that was killed it cannot tell: the number of its
    process is that of another one in the next container and on the host.
    """
    import fcntl  # noqa: PLC0415 - Windows has none, and `python` has said so

    folder = os.open(".", os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        remedy = "dvc config --local core.hardlink_lock true, or a file system with flock"
        return Finding("note", f"this file system locks no files ({error.strerror})", remedy)
    finally:
        os.close(folder)
    try:
        listed = json.loads(RWLOCK.read_text(encoding="utf-8"))
        readers = [entry for entries in listed.get("read", {}).values() for entry in entries]
        holders = {entry["pid"]: entry["cmd"] for entry in [*listed.get("write", {}).values(), *readers]}
    except OSError:
        holders = {}
    except ValueError:
        text = f"{RWLOCK} is damaged: a DVC was killed while it wrote it, and every DVC stops there"
        return Finding("wrong", text, f"if no DVC works in this folder: rm {RWLOCK}")
    for number, command in holders.items():
        process = Path(f"/proc/{number}/cmdline")
        called = process.read_text(encoding="utf-8", errors="replace") if process.is_file() else ""
        # In a container processes have small numbers: the next DVC in one will have that of the one that was killed.
        if "dvc" not in called and (called or number < 300):
            here = "is another program here" if called else "does not run here"
            text = f"DVC waits for process {number} ({command}), which {here}"
            return Finding("wrong", text, f"if no other container or machine works in this folder: rm {RWLOCK}")
    return Finding("ok", "files can be locked, and no lock is left of a container that was killed")


def available_memory(group: Path = Path("/sys/fs/cgroup")) -> float:
    """Bytes that a new process may have: what the machine has left, or less where a control group limits it."""
    text = Path("/proc/meminfo").read_text(encoding="ascii")
    available = 1024.0 * int(re.findall(r"MemAvailable:\s+(\d+)", text)[0])
    limit, used = group / "memory.max", group / "memory.current"
    if limit.is_file() and (bound := limit.read_text(encoding="ascii").strip()) != "max":
        # What is kept of files that were read is given back when it is needed.
        kept = re.search(r"(?m)^inactive_file (\d+)", (group / "memory.stat").read_text(encoding="ascii"))
        given_back = float(kept[1]) if kept else 0.0
        available = min(available, float(bound) - float(used.read_text(encoding="ascii")) + given_back)
    return available


def memory(available: float) -> Finding:
    """Whether `available` bytes hold one fold, and one fold per core."""
    cores, fit = len(os.sched_getaffinity(0)), int(available // FOLD_MEMORY)
    text = f"{available / GIB:.1f} GiB available, {cores} cores; a fold of the demo needs {FOLD_MEMORY / GIB:.1f} GiB"
    if fit == 0:
        return Finding("wrong", text, "end other programs, or raise the limit of the container")
    return Finding("note", text, f"make report JOBS={fit}") if fit < cores else Finding("ok", text)


def disk(free: float, *, installed: bool) -> Finding:
    """Whether `free` bytes hold what the demo writes and, before they are installed, the packages."""
    needed = RUN + (0 if installed else PACKAGES)
    least = RUN + (0 if installed else CPU_PACKAGES)
    packages = "" if installed else f" ({PACKAGES / GIB:.0f} of them packages; {least / GIB:.0f} GiB with CPU=1)"
    text = f"{free / GIB:.1f} GiB free here; the demo needs {needed / GIB:.0f} GiB{packages}, C-NMC at 450 px 20 more"
    remedy = "free some space; runs that no commit and no experiment has: dvc gc --all-commits --all-experiments"
    if free < least:
        return Finding("wrong", text, remedy)
    return (
        Finding("note", text, f"make report CPU=1, without CUDA; or {remedy}") if free < needed else Finding("ok", text)
    )


def packages() -> Finding:
    """Whether the packages are installed, in the versions of the lock file."""
    if not LOCK.is_file():
        return Finding("wrong", f"{LOCK} is missing", f"git checkout -- {LOCK}")
    if not installed():
        text = f"not installed for {sys.executable}: parameters, data, weights and DVC remote are not checked yet"
        if importlib.util.find_spec("ensurepip") is None:
            return Finding("wrong", text, "Python lacks venv; on Debian and Ubuntu: apt-get install python3-venv")
        sizes = f"{PACKAGES / GIB:.0f} GiB, once; {CPU_PACKAGES / GIB:.0f} GiB without a GPU: make report CPU=1"
        return Finding("note", text, f"make report installs them into .venv ({sizes})")
    text = f"torch {version('torch')}, DVC {version('dvc')}"
    other = other_than_locked(LOCK.read_text(encoding="utf-8"))
    if other:
        more = f" and {len(other) - 3} more" if len(other) > 3 else ""
        remedy = f"python -m pip install --require-hashes --requirement {LOCK}"
        return Finding("note", f"{text}; not as locked: {', '.join(other[:3])}{more}", remedy)
    return Finding("ok", f"{text}; every package as locked")


def other_than_locked(lock: str) -> list[str]:
    """Packages of another version than any that the lock names for them; those for other platforms may be absent."""
    pins: dict[str, set[str]] = {}
    for name, pin in re.findall(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)", lock, flags=re.MULTILINE):
        pins.setdefault(name, set()).add(pin)
    # A local build such as 2.14.1+cpu is the locked version for another device.
    versions = {name: version(name) for name in pins}
    return [f"{name} {of}" for name, of in versions.items() if of and of.split("+")[0] not in pins[name]]


def installed() -> bool:
    """Whether this interpreter has the packages of the job."""
    return all(version(package) for package in ("torch", "dvc", "pydantic", "ruamel.yaml"))
