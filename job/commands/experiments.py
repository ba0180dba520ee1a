"""The experiments of this repository, read from Git: DVC keeps each as a commit under `refs/exps`.

`dvc exp show --all-commits` gives the same in half a minute for thirty commits, because it opens every one of them.
"""

from __future__ import annotations

import io
import json
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from job.contracts.paths import HEADLINES
from job.reporting.pages.appendix import Experiment

PARAMETERS, SUMMARY = "params.yaml", HEADLINES.as_posix()


def tried() -> list[Experiment]:
    """This workspace first, then every experiment, the newest first. Without a repository, the workspace alone."""
    here = Experiment(
        name=None,
        parent=(git("rev-parse", "HEAD") or "")[:7],
        date=None,
        parameters=_parameters(_text(PARAMETERS)),
        changed=_changed(_parameters(git("show", f"HEAD:{PARAMETERS}")), _parameters(_text(PARAMETERS))),
        metrics=_metrics(_text(SUMMARY)),
    )
    lines = (git("for-each-ref", "--format=%(refname)%09%(creatordate:unix)", "refs/exps") or "").splitlines()
    others = [_experiment(*line.split("\t")) for line in lines if _is_experiment(line.split("\t")[0])]
    return [here, *sorted(others, key=lambda one: (one.date or "", one.name or ""), reverse=True)]


def git(*arguments: str) -> str | None:
    """What Git says, or None where it has no answer or there is no Git."""
    try:
        answer = subprocess.run(["git", *arguments], capture_output=True, text=True, check=True)  # noqa: S607
    except (FileNotFoundError, subprocess.CalledProcessError):
        return None
    return answer.stdout.strip()


def _is_experiment(ref: str) -> bool:
    # refs/exps/BA/SELINE/NAME; DVC's own book-keeping (exec, stash, celery) has other shapes.
    parts = ref.split("/", 4)
    return len(parts) == 5 and len(parts[2]) == 2 and len(parts[3]) == 38


def _experiment(ref: str, seconds: str) -> Experiment:
    _, _, start, rest, name = ref.split("/", 4)
    base, parameters = (_parameters(git("show", f"{at}:{PARAMETERS}")) for at in (start + rest, ref))
    return Experiment(
        name=name,
        parent=(start + rest)[:7],
        date=datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%d %H:%M"),
        parameters=parameters,
        changed=_changed(base, parameters),
        metrics=_metrics(git("show", f"{ref}:{SUMMARY}")),
    )


def _text(path: str) -> str | None:
    file = Path(path)
    return file.read_text(encoding="utf-8") if file.is_file() else None


def _parameters(text: str | None) -> dict[str, Any]:
    """Every parameter by its dotted name; an experiment may hold what today's code would refuse."""
    tree = YAML(typ="safe").load(io.StringIO(text)) if text else {}
    flat: dict[str, Any] = {}
    for section, settings in tree.items():
        if isinstance(settings, dict):
            flat |= {f"{section}.{key}": value for key, value in settings.items()}
        else:
            flat[section] = settings
    return flat


def _changed(base: dict[str, Any], parameters: dict[str, Any]) -> list[str]:
    return [key for key in parameters if key not in base or base[key] != parameters[key]]


def _metrics(text: str | None) -> dict[str, Any]:
    metrics: dict[str, Any] = json.loads(text) if text else {}
    return metrics
