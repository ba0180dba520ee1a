"""`python -m job doctor`: is this machine ready for the job? Every finding comes with what to do when it is wrong."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path

from job import params
from job.commands.machine import Finding, available_memory, device, disk, free, gpus, memory, output, shared_memory
from job.errors import UserError
from job.models import weights
from job.params import Params

LOCK = Path("requirements.lock")
DEMO_ROOT = "data/raw/demo"
PATIENCE = 20
"""Seconds that a DVC remote has to answer."""


def run() -> str:
    """Print the findings; the closing sentence.

    Raises:
        UserError: something is wrong that would stop the job.
    """
    findings = []
    for finding in _findings():
        findings.append(finding)
        remedy = f"\n{'':19}{finding.remedy}" if finding.remedy else ""
        sys.stdout.write(f"{finding.state:<6} {finding.name:<11} {finding.found}{remedy}\n")
        sys.stdout.flush()
    wrong = [finding.name for finding in findings if finding.state == "wrong"]
    if wrong:
        raise UserError(f"not ready: {', '.join(wrong)}; what to do stands above")
    return "ready"


def _findings() -> Iterator[Finding]:
    yield _repository()
    yield _versions()
    yield memory(available_memory())
    yield shared_memory(free("/dev/shm"), gpus())  # noqa: S108
    yield disk(free("."))
    try:
        values = params.load()
    except UserError as error:
        yield Finding("wrong", "parameters", str(error), "mend params.yaml; what depends on it was not looked at")
        return
    yield Finding("ok", "parameters", "params.yaml is valid")
    yield device(values)
    yield _data(values)
    yield from _weights(values)
    yield _remote()


def _repository() -> Finding:
    git = output("git", "rev-parse", "--is-inside-work-tree", "--is-shallow-repository")
    if git is None:
        return Finding(
            "wrong", "repository", "Git does not accept this folder",
            "clone the repository instead of copying it; where it belongs to another user: "
            f"git config --global --add safe.directory {Path.cwd()}",
        )  # fmt: skip
    if not os.access(".", os.W_OK):
        return Finding(
            "wrong", "repository", f"user {os.getuid()} may not write to {Path.cwd()}",
            'in a container: docker run --user "$(id -u):$(id -g)" …',
        )  # fmt: skip
    if git.split()[-1] == "true":
        return Finding("note", "repository", "a shallow clone", "dvc exp needs the history: git fetch --unshallow")
    return Finding("ok", "repository", "a Git work tree that this user may write to")


def _versions() -> Finding:
    about = f"Python {platform.python_version()}, torch {_version('torch')}, DVC {_version('dvc')}"
    if not LOCK.is_file():
        return Finding("wrong", "versions", f"{LOCK} is missing", f"git checkout -- {LOCK}")
    other = other_than_locked(LOCK.read_text(encoding="utf-8"), _version)
    if other:
        more = f" and {len(other) - 3} more" if len(other) > 3 else ""
        return Finding(
            "note", "versions", f"{about}; not as locked: {', '.join(other[:3])}{more}",
            f"python -m pip install --require-hashes --requirement {LOCK}",
        )  # fmt: skip
    return Finding("ok", "versions", f"{about}; every package as locked")


def other_than_locked(lock: str, installed: Callable[[str], str | None]) -> list[str]:
    """Packages of another version than any that the lock names for them; those for other platforms may be absent."""
    pins: dict[str, set[str]] = {}
    for name, version in re.findall(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)", lock, flags=re.MULTILINE):
        pins.setdefault(name, set()).add(version)
    # A local build such as 2.14.1+cpu is the locked version for another device.
    found = {name: version for name in pins if (version := installed(name))}
    return [f"{name} {version}" for name, version in found.items() if version.split("+")[0] not in pins[name]]


def _data(values: Params) -> Finding:
    root = Path(values.data.root)
    if values.data.root == DEMO_ROOT:
        return Finding("ok", "data", f"{values.demo.images} synthetic cells, drawn by the stage demo")
    if params.awaits_fetch(root):
        return Finding("note", "data", f"{root.absolute()} is not fetched yet", "dvc pull fetches it")
    if not root.is_dir():
        return Finding(
            "wrong", "data", f"{root.absolute()} does not exist",
            f"set data.root to the folder that holds the images, or to {DEMO_ROOT}; in a container, mount it",
        )  # fmt: skip
    files = sum(len(names) for _, _, names in os.walk(root, followlinks=True))
    if files == 0:
        return Finding("wrong", "data", f"{root.absolute()} holds no files", "unpack the images there, or mount them")
    return Finding("ok", "data", f"{files:,} files under {root.absolute()}")


def _weights(values: Params) -> Iterator[Finding]:
    model = values.model
    if model.weights == "none":
        yield Finding("ok", "weights", "random: model.weights is none")
    elif model.weights != "imagenet":
        try:
            weights.of_file(Path(model.weights), model.weights_sha256)
            yield Finding("ok", "weights", f"{model.weights}, with the SHA-256 of model.weights_sha256")
        except UserError as error:
            yield Finding("wrong", "weights", str(error), "mend model.weights and model.weights_sha256 in params.yaml")
    else:
        students = values.noisy_student.backbone if "noisy_student" in values.methods else "same"
        for backbone in dict.fromkeys((model.backbone, *({students} - {"same"}))):
            yield _published_weights(backbone)


def _published_weights(backbone: str) -> Finding:
    path = weights.location(backbone)
    if path.is_file():
        return Finding("ok", "weights", f"{path.name} of {backbone}")
    return Finding(
        "note", "weights", f"those of {backbone} are not on this machine",
        "training downloads them; without a network use model.backbone=efficientnet-lite0, or in a container "
        f"docker build --build-arg WEIGHTS={backbone} …",
    )  # fmt: skip


def _remote() -> Finding:
    listed = output(sys.executable, "-m", "dvc", "config", "core.remote")
    if not listed:
        return Finding("ok", "DVC remote", "none: data and runs stay on this machine")
    name = listed.split()[-1]
    # A process of its own, because a remote that does not answer must not hold this one.
    ask = "from dvc.repo import Repo; remote = Repo().cloud.get_remote(); remote.fs.ls(remote.fs.parent(remote.path))"
    try:
        done = subprocess.run(
            [sys.executable, "-c", ask], capture_output=True, text=True, timeout=PATIENCE, check=False
        )
        said = (done.stderr.strip().splitlines() or [""])[-1] if done.returncode else ""
    except subprocess.TimeoutExpired:
        said = f"no answer within {PATIENCE} seconds"
    if said:
        return Finding(
            "wrong", "DVC remote", f"{name} does not answer: {said}",
            "check address and credentials with: dvc remote list; dvc remote modify --local …",
        )  # fmt: skip
    return Finding("ok", "DVC remote", f"{name} answers")


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
