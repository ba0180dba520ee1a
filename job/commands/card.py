"""`python -m job card`: MODEL_CARD.md from what Git tracks of a result, the parameters and the headline figures."""

from __future__ import annotations

from pathlib import Path, PurePath
from typing import Any

import jinja2

from job import files, params
from job.params import Params
from job.reporting import text

TEMPLATE = Path("docs/model_card.md.j2")
CARD = Path("MODEL_CARD.md")
DEMO_ROOT = "data/raw/demo"
PREPARED = Path("data/prepared/summary.json")


def run() -> str:
    """Write MODEL_CARD.md; its path.

    Raises:
        UserError: parameters or results are missing or wrong.
    """
    values = params.load()
    files.write_text(
        CARD, render(values, files.read_json(Path("results/summary.json")), synthetic=is_synthetic(values))
    )
    return f"{CARD} is written"


def is_synthetic(values: Params, prepared: Path = PREPARED) -> bool:
    """Whether a program drew the cells: as `prepare` found, or by the folder's name in a clone without its outputs."""
    if prepared.is_file():
        return bool(files.read_json(prepared)["synthetic"])
    root = Path(values.data.root).resolve()
    return Path(DEMO_ROOT).resolve() in (root, *root.parents)


def render(values: Params, summary: dict[str, Any], template: Path = TEMPLATE, *, synthetic: bool) -> str:
    """The card as Markdown."""
    figures = {f"{group}/{name}": row for group, names in summary.items() for name, row in names.items()}
    metrics = list(dict.fromkeys(metric for row in figures.values() for metric in row))
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, keep_trailing_newline=True)  # noqa: S701  # Markdown
    rendered: str = environment.from_string(files.existing(template).read_text(encoding="utf-8")).render(
        params=values,
        names=values.methods,
        start=text.weights_name(values.model.weights),
        optimiser=text.OPTIMISERS[values.train.optimiser],
        synthetic=synthetic,
        data_name=PurePath(values.data.root).name,
        positive="the class named in `data/prepared/summary.json` (ALL in C-NMC)",
        metrics=[metric.replace("_", " ") for metric in metrics],
        rows=[(name, [_shown(row.get(metric)) for metric in metrics]) for name, row in figures.items()],
    )
    return rendered


def _shown(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
