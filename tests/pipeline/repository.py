"""A copy of this repository with a very small demo, in which DVC really runs."""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from ruamel.yaml import YAML

from tests import ROOT

SMALL = {
    "folds": [1, 2],
    "demo": {"images": 120, "patients": 40, "unlabelled": 4},
    "data": {"pixels": 32},
    "split": {"folds": 2, "test": "report", "fold_by": "image"},
    "train": {"epochs": 1, "learning_rate": 0.001, "schedule": "step"},
    "noisy_student": {"iterations": 1},
}
ENVIRONMENT = os.environ | {
    "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    "PYTHONDONTWRITEBYTECODE": "1",
    "DVC_NO_ANALYTICS": "1",
    "GIT_AUTHOR_NAME": "test", "GIT_AUTHOR_EMAIL": "test@example.org",
    "GIT_COMMITTER_NAME": "test", "GIT_COMMITTER_EMAIL": "test@example.org",
}  # fmt: skip


def create(folder: Path) -> Path:
    """Copy what Git tracks (and new files it does not ignore), make `params.yaml` small, commit."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout.splitlines()  # fmt: skip
    for name in listed:
        made_by_dvc = name in ("dvc.lock", "results/summary.json") or name.endswith("/.gitignore")
        if (ROOT / name).is_file() and (not made_by_dvc or name == ".dvc/.gitignore"):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    change(folder, SMALL)
    run(folder, "git", "init", "--quiet")
    run(folder, "git", "add", "--all")
    run(folder, "git", "commit", "--quiet", "--message", "copy")
    return folder


def lend_environment(folder: Path) -> None:
    """The environment of these tests in place of the one that `make` would install."""
    (folder / ".venv").mkdir()
    for part in ("bin", "lib", "pyvenv.cfg"):
        (folder / ".venv" / part).symlink_to(Path(sys.prefix) / part)
    (folder / ".venv/installed").touch()


def change(folder: Path, sections: dict) -> None:
    """Set parameters, keeping the comments of the file."""
    yaml = YAML()
    values = yaml.load(folder / "params.yaml")
    for section, entries in sections.items():
        if isinstance(entries, dict):
            values[section].update(entries)
        else:
            values[section] = entries
    yaml.dump(values, folder / "params.yaml")


def run(folder: Path, *command: str, check: bool = True, **variables: str) -> subprocess.CompletedProcess:
    """Run a command in the copy; standard output and error together in `stdout`.

    They go through a file: a worker of DVC's queue may outlive its command, and would keep a pipe open.
    """
    with tempfile.TemporaryFile("w+", encoding="utf-8") as said:
        result = subprocess.run(
            command, cwd=folder, env=ENVIRONMENT | variables, stdin=subprocess.DEVNULL, stdout=said,
            stderr=subprocess.STDOUT, text=True, check=False,
        )  # fmt: skip
        said.seek(0)
        result.stdout = said.read()
    assert not check or result.returncode == 0, result.stdout[-3000:]
    return result


def script(folder: Path, *command: str, check: bool = True, **variables: str) -> subprocess.CompletedProcess:
    """Run one of .github/scripts as a workflow does, with these variables."""
    return run(folder, f".github/scripts/{command[0]}", *command[1:], check=check, **variables)


def stages_run(output: str) -> list[str]:
    """Names of the stages DVC said it ran."""
    return [line.split("'")[1] for line in output.splitlines() if line.startswith("Running stage")]


def digests(folder: Path, *parts: str) -> dict[str, str]:
    """SHA-256 of every file below these folders, but for the pages that depend on the moment."""
    files = [path for part in parts for path in sorted((folder / part).rglob("*")) if path.is_file()]
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
        if path.name not in ("moment.html", "added.js", ".gitignore")
    }
