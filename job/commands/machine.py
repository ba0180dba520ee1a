"""What the commands ask of this machine with the standard library alone: programs, packages, places for files."""

from __future__ import annotations

import re
import subprocess
from importlib import metadata
from pathlib import Path

from job.contracts import paths
from job.errors import UserError


def version(package: str) -> str | None:
    """Version of an installed package, or None."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def gpus() -> list[str]:
    """Driver version of each GPU that the NVIDIA driver sees."""
    return (output("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader") or "").split()


def output(*command: str) -> str | None:
    """Standard output of a command, or None where it fails or is not installed."""
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (FileNotFoundError, subprocess.CalledProcessError):
        return None


def check_file(path: Path) -> None:
    """Refuse, before the work, a place of `--out` that is a folder, lies in a file, or is somebody else's."""
    if path.is_dir():
        raise UserError(f"--out {path} is a folder: name the file that is to be written, such as {path / 'out'}")
    _check(path, path.parent)


def check_replaced(path: Path, beginning: bytes) -> None:
    """Refuse to replace a file that does not begin as one of the same command does, a pattern; an empty one may go."""
    if path.exists() and not (path.is_file() and re.match(beginning + rb"|\Z", path.read_bytes())):
        raise UserError(f"{path} was not written by this command, and would be replaced: name another with --out")


def check_folder(path: Path, option: str = "--out") -> None:
    """Refuse, before the work, a folder of an option that is or lies in a file, or whose files are somebody else's."""
    _check(path, path, option)


def _check(path: Path, folder: Path, option: str = "--out") -> None:
    """Refuse a folder that cannot be one, what belongs to the pipeline as a whole, and what Git keeps."""
    for one in (folder, *folder.parents):
        if one.exists() and not one.is_dir():
            raise UserError(f"{option}: {one} is no folder: name another place")
    where = path.resolve()
    if Path("dvc.yaml").is_file() and any(where.is_relative_to(folder.resolve()) for folder in paths.OUTPUTS):
        raise UserError(f"{option} {path} is where the pipeline keeps its results: name another place")
    inside = where if where.is_dir() else where.parent
    if where.exists() and output("git", "-C", str(inside), "ls-files", "--", str(where)):
        raise UserError(f"{option} {path} is or holds what Git keeps: name another place")
