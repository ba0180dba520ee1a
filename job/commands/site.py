"""Command `site`: add to the finished report what depends on the moment: experiments, commit, machine, times."""

import contextlib
import json
import os
import platform
import re
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from ruamel.yaml import YAML

from job import files
from job.commands import revisions
from job.commands.machine import output, version
from job.contracts.paths import HEADLINES, SITE, log
from job.errors import UserError
from job.params import load
from job.reporting import site
from job.reporting.pages.appendix import Comparison, Experiment, Moment

PACKAGES = (
    "torch", "torchvision", "efficientnet-pytorch", "numpy", "scipy", "scikit-learn", "pandas", "pillow", "jinja2",
    "plotly", "captum", "dvc"
)  # fmt: skip
PARAMETERS, SUMMARY = revisions.PARAMETERS.as_posix(), HEADLINES.as_posix()
git = partial(output, "git")
# refs/exps/BA/SELINE/NAME; DVC's own book-keeping (exec, stash, celery) has other shapes.
_REF = re.compile(r"refs/exps/([^/]{2})/([^/]{38})/(.*)")


def run(comparison: Comparison | None = None) -> str:
    """Write site/moment.html, with this comparison or that of the workspace with the newest experiment, and added.js.

    No other file of the site is touched: it is an output of DVC, and stays as the stage `report` left it.
    """
    front = SITE / "index.html"
    if not front.is_file():
        raise UserError(f"{front} does not exist: run `dvc repro report` first")
    load()  # what cannot be read shall be a sentence
    frame = files.read_json(SITE / site.FRAME)
    for name, content in site.render_moment(frame, moment(frame["methods"], frame["folds"], comparison)).items():
        files.write_text(SITE / name, content)
    return f"Experiments, commit, versions and times are added.\nThe report is ready: {front.absolute()}"


def moment(methods: list[str], folds: list[int], comparison: Comparison | None = None) -> Moment:
    """What only this moment and this machine know. Missing logs and a missing repository are no error."""
    commit, experiments = git("rev-parse", "HEAD"), tried()
    return Moment(
        commit=commit,
        date=git("log", "-1", "--format=%cs") or "",
        changed=bool(commit and git("status", "--porcelain", "--untracked-files=no")),
        python=platform.python_version(),
        platform=platform.platform(),
        processor=_processor(),
        experiments=experiments,
        comparison=comparison or _newest(experiments),
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


def _newest(experiments: list[Experiment]) -> Comparison | None:
    """The newest experiment beside this workspace; None without one, or where this machine has not its predictions."""
    if len(experiments) < 2:
        return None
    name = experiments[1].name
    with contextlib.suppress(UserError):
        return revisions.compare((name, None), (str(name), "This report"))
    return None


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


def tried() -> list[Experiment]:
    """This workspace first, then every experiment, the newest first. Without a repository, the workspace alone.

    DVC keeps an experiment as a commit under `refs/exps`. `dvc exp show --all-commits` gives the same in half a minute
    for thirty commits, because it opens every one of them.
    """
    parameters, summary = (
        file.read_text("utf-8") if file.is_file() else None for file in map(Path, (PARAMETERS, SUMMARY))
    )
    here = _experiment(None, git("rev-parse", "HEAD") or "", None, parameters, summary)
    others = []
    for line in (git("for-each-ref", "--format=%(refname)%09%(creatordate:unix)", "refs/exps") or "").splitlines():
        ref, seconds = line.split("\t")
        if match := _REF.fullmatch(ref):
            date = datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%d %H:%M")
            texts = (git("show", f"{ref}:{path}") for path in (PARAMETERS, SUMMARY))
            others.append(_experiment(match[3], match[1] + match[2], date, *texts))
    return [here, *sorted(others, key=lambda one: (one.date or "", one.name or ""), reverse=True)]


def _experiment(
    name: str | None, base: str, date: str | None, parameters: str | None, summary: str | None
) -> Experiment:
    """An experiment from the texts of its files; `base` is the commit that it started from."""
    texts = (git("show", f"{base or 'HEAD'}:{PARAMETERS}"), parameters)
    before, after = map(revisions.parameters, texts)
    return Experiment(
        name=name,
        parent=base[:7],
        date=date,
        parameters=after,
        changed=[key for key in after if key not in before or before[key] != after[key]],
        metrics=json.loads(summary) if summary else {},
    )
