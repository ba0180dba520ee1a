"""Command `site`: write beside the finished report what depends on the moment: commit, software, machine, times."""

from __future__ import annotations

import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

from job import files
from job.errors import UserError
from job.reporting import site
from job.reporting.pages.moment import Moment

SITE = Path("site")
LOGS = Path("logs")
PACKAGES = (
    "torch", "torchvision", "efficientnet-pytorch", "numpy", "scipy", "scikit-learn", "pandas", "pillow", "jinja2",
    "plotly", "dvc",
)  # fmt: skip


def run() -> str:
    """Write site/moment.html; its path and the closing sentence.

    Raises:
        UserError: there is no finished site.
    """
    front = SITE / "index.html"
    if not front.is_file():
        raise UserError(f"{front} does not exist: run `dvc repro report` first")
    frame = site.Frame.read(SITE)
    path = SITE / "moment.html"
    files.write_text(path, site.render_moment(frame, moment(frame.methods, frame.folds)))
    return f"Commit, versions and training times: {path.absolute()}\nThe report is ready: {front.absolute()}"


def moment(methods: list[str], folds: list[int]) -> Moment:
    """What only this moment and this machine know. Missing logs and a missing repository are no error."""
    commit = _git("rev-parse", "HEAD")
    return Moment(
        commit=commit,
        changed=bool(commit and _git("status", "--porcelain", "--untracked-files=no")),
        python=platform.python_version(),
        platform=platform.platform(),
        versions={name: version for name in PACKAGES if (version := _version(name))},
        times=[entry for method in methods for entry in _times(LOGS / method, folds)],
    )


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", *arguments], capture_output=True, text=True, check=True)  # noqa: S607
    except (FileNotFoundError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _times(folder: Path, folds: list[int]) -> list[dict[str, Any]]:
    # A log of an earlier run may lie there too: only the folds of this report are shown.
    logs = {fold: folder / f"fold-{fold}.json" for fold in folds}
    return [
        {"method": folder.name, "fold": fold, **files.read_json(path)} for fold, path in logs.items() if path.is_file()
    ]
