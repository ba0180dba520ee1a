"""Two revisions of this repository beside each other: parameters, figures, and the paired difference by patient."""

import io
import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import dvc.api
import pandas as pd
from dvc.exceptions import DvcException
from dvc.scm import RevError
from ruamel.yaml import YAML

from job.contracts import paths
from job.errors import UserError
from job.evaluation import external, intervals
from job.evaluation.blocks import Block
from job.files import existing
from job.reporting.pages.appendix import Comparison

PARAMETERS = Path("params.yaml")


def compare(revisions: tuple[str | None, str | None], names: tuple[str, str]) -> Comparison:
    """Compare two Git revisions or experiments of DVC; None is the workspace.

    Figures are those of the majority votes, every patient counting once. They are subtracted where both test sets hold
    the same images of the same patients.
    """
    before, after = (parameters(_read(revision, PARAMETERS)) for revision in revisions)
    first, second = map(_votes, revisions)
    one, other = (next(iter(votes.values())).cells.table.drop(columns="row") for votes in (first, second))
    same = one.equals(other)
    rows: list[list[Any]] = []
    for model in dict.fromkeys([*first, *second]):
        figures = [intervals.figures(votes[model]) if model in votes else None for votes in (first, second)]
        for metric in intervals.METRICS:
            entries = [intervals.entry(found[metric]) if found else {} for found in figures]
            row = [entry.get(end) for entry in entries for end in ("value", "low", "high")]
            change: list[Any] = [None] * 6
            if same and figures[0] and figures[1]:
                found = intervals.difference(figures[1][metric], figures[0][metric])
                change = [found.value, found.low, found.high, found.positive, found.negative, found.subjects]
            rows.append([model, metric, *row, *(None if pd.isna(value) else value for value in change)])
    changed = [key for key in dict.fromkeys([*before, *after]) if before.get(key) != after.get(key)]
    return Comparison(
        names=names,
        unit="patient" if next(iter(first.values())).cells.dataset.patients_known else "image",
        parameters=[(key, before.get(key), after.get(key)) for key in changed],
        figures=rows,
        images=(len(one), len(other), len(one.merge(other))),
        same=same,
    )


def parameters(text: str | None) -> dict[str, Any]:
    """Every parameter by its dotted name; an experiment may hold what today's code would refuse."""
    flat: dict[str, Any] = {}
    for section, settings in (YAML(typ="safe").load(text) if text else {}).items():
        if isinstance(settings, dict):
            flat |= {f"{section}.{key}": value for key, value in settings.items()}
        else:
            flat[section] = settings
    return flat


def _votes(revision: str | None) -> dict[str, Block]:
    """The majority votes of a revision on its test images, by model."""
    positive = json.loads(_read(revision, paths.EVALUATION))["positive"]
    text = _read(revision, paths.RESULT_PREDICTIONS)
    table = pd.read_csv(io.StringIO(text), dtype=str, keep_default_na=False)
    votes = table[(table["role"] == "test") & (table["rule"] == "majority")]
    with TemporaryDirectory() as folder:
        path = Path(folder) / paths.RESULT_PREDICTIONS.name
        votes.to_csv(path, index=False)
        blocks, *_ = external.read(path, synthetic=False, positive=positive)
    return {block.model: block for block in blocks}


def _read(revision: str | None, path: Path) -> str:
    if revision is None:
        return existing(path).read_text(encoding="utf-8")
    try:
        return str(dvc.api.read(path.as_posix(), rev=revision, encoding="utf-8"))
    except RevError:
        remedy = "`git log` and `dvc exp list --all-commits` name them"
        raise UserError(f"{revision} is neither a Git revision nor an experiment: {remedy}") from None
    except DvcException:
        remedy = "`dvc fetch --all-commits` gets what a remote has, and `dvc repro` makes it"
        raise UserError(f"{path} of {revision} is not on this machine: {remedy}") from None
