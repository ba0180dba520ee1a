"""Command `site`: add to the finished report what depends on the moment: experiments, commit, machine, times."""

import os
import platform
from pathlib import Path

from ruamel.yaml import YAML

from job import files
from job.commands import experiments
from job.commands.machine import output, version
from job.contracts.paths import SITE, log
from job.errors import UserError
from job.reporting import site
from job.reporting.pages.appendix import Moment

PACKAGES = (
    "torch", "torchvision", "efficientnet-pytorch", "numpy", "scipy", "scikit-learn", "pandas", "pillow", "jinja2",
    "plotly", "captum", "dvc"
)  # fmt: skip


def run() -> str:
    """Write site/moment.html and site/added.js; the closing sentence.

    No other file of the site is touched: it is an output of DVC, and stays as the stage `report` left it.
    """
    front = SITE / "index.html"
    if not front.is_file():
        raise UserError(f"{front} does not exist: run `dvc repro report` first")
    frame = files.read_json(SITE / site.FRAME)
    for name, content in site.render_moment(frame, moment(frame["methods"], frame["folds"])).items():
        files.write_text(SITE / name, content)
    return f"Experiments, commit, versions and times are added.\nThe report is ready: {front.absolute()}"


def moment(methods: list[str], folds: list[int]) -> Moment:
    """What only this moment and this machine know. Missing logs and a missing repository are no error."""
    commit = output("git", "rev-parse", "HEAD")
    return Moment(
        commit=commit,
        changed=bool(commit and output("git", "status", "--porcelain", "--untracked-files=no")),
        python=platform.python_version(),
        platform=platform.platform(),
        processor=_processor(),
        experiments=experiments.tried(),
        versions={name: number for name in PACKAGES if (number := version(name))},
        outputs=_outputs(),
        # A log of an earlier run may lie there too: only the folds of this report are shown.
        times=[
            {"method": method, "fold": fold, **files.read_json(path)}
            for method in methods
            for fold in folds
            if (path := log(method, fold).with_suffix(".json")).is_file()
        ],
    )


def _processor() -> str:
    """Name and number of the processors; Linux alone tells the name."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.is_file() else []
    name = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())
    return f"{name}, {os.cpu_count()} threads"


def _outputs() -> list[tuple[str, str, str]]:
    """Stage, output and digest of everything that `dvc.lock` records."""
    lock = Path("dvc.lock")
    stages = YAML(typ="safe").load(lock)["stages"] if lock.is_file() else {}
    return [(name, out["path"], out["md5"]) for name, stage in stages.items() for out in stage.get("outs", [])]
