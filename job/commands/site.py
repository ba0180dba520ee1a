"""Command `site`: add to the finished report what depends on the moment: commit, software, machine, training times."""

from __future__ import annotations

import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

from job import files, params
from job.errors import UserError
from job.reporting import inputs, site
from job.reporting.pages.provenance import Moment

SITE = Path("site")
LOGS = Path("logs")
PACKAGES = (
    "torch", "torchvision", "efficientnet-pytorch", "numpy", "scipy", "scikit-learn", "pandas", "pillow", "jinja2",
    "plotly", "dvc",
)  # fmt: skip


def run() -> str:
    """Write site/provenance.html anew; the closing sentence.

    Raises:
        UserError: there is no finished site, or one of its inputs is missing.
    """
    front = SITE / "index.html"
    if not front.is_file():
        raise UserError(f"{front} does not exist: run `dvc repro report` first")
    found = inputs.read(params.load())
    files.write_text(SITE / "provenance.html", site.render_provenance(found, moment(found.methods)))
    return f"The report is ready: {front.absolute()}"


def moment(methods: list[str]) -> Moment:
    """What only this moment and this machine know. Missing logs and a missing repository are no error."""
    commit = _git("rev-parse", "HEAD")
    return Moment(
        commit=commit,
        changed=bool(commit and _git("status", "--porcelain", "--untracked-files=no")),
        python=platform.python_version(),
        platform=platform.platform(),
        versions={name: version for name in PACKAGES if (version := _version(name))},
        times=[entry for method in methods for entry in _times(LOGS / method)],
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


def _times(folder: Path) -> list[dict[str, Any]]:
    logs = sorted(folder.glob("fold-*.json"), key=lambda path: int(path.stem.removeprefix("fold-")))
    return [{"method": folder.name, "fold": int(p.stem.removeprefix("fold-")), **files.read_json(p)} for p in logs]
