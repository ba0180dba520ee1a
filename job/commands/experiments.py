"""The experiments of this repository, read from Git: DVC keeps each as a commit under `refs/exps`.

`dvc exp show --all-commits` gives the same in half a minute for thirty commits, because it opens every one of them.
"""

import io
import json
import re
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from job.commands.machine import output
from job.contracts.paths import HEADLINES
from job.reporting.pages.appendix import Experiment

PARAMETERS, SUMMARY = "params.yaml", HEADLINES.as_posix()
git = partial(output, "git")
# refs/exps/BA/SELINE/NAME; DVC's own book-keeping (exec, stash, celery) has other shapes.
_REF = re.compile(r"refs/exps/([^/]{2})/([^/]{38})/(.*)")


def tried() -> list[Experiment]:
    """This workspace first, then every experiment, the newest first. Without a repository, the workspace alone."""
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
    before, after = _parameters(git("show", f"{base or 'HEAD'}:{PARAMETERS}")), _parameters(parameters)
    return Experiment(
        name=name,
        parent=base[:7],
        date=date,
        parameters=after,
        changed=[key for key in after if key not in before or before[key] != after[key]],
        metrics=json.loads(summary) if summary else {},
    )


def _parameters(text: str | None) -> dict[str, Any]:
    """Every parameter by its dotted name; an experiment may hold what today's code would refuse."""
    flat: dict[str, Any] = {}
    for section, settings in (YAML(typ="safe").load(io.StringIO(text)) if text else {}).items():
        if isinstance(settings, dict):
            flat |= {f"{section}.{key}": value for key, value in settings.items()}
        else:
            flat[section] = settings
    return flat
