"""`python -m job card`: MODEL_CARD.md from what Git tracks of a result, the parameters and the headline figures."""

from pathlib import Path, PurePath
from typing import Any

import jinja2

from job import files
from job.contracts import paths
from job.params import Params, load
from job.reporting import text

TEMPLATE = Path("docs/model_card.md.j2")
CARD = Path("MODEL_CARD.md")


def run() -> str:
    """Write MODEL_CARD.md from the parameters and the headline figures."""
    params = load()
    files.write_text(CARD, render(params, files.read_json(paths.HEADLINES), synthetic=is_synthetic(params)))
    return f"{CARD} is written"


def is_synthetic(params: Params, prepared: Path = paths.SUMMARY) -> bool:
    """Whether a program drew the cells: as `prepare` found, or by the folder's name in a clone without its outputs."""
    if prepared.is_file():
        return bool(files.read_json(prepared)["synthetic"])
    root = Path(params.data.root).resolve()
    return paths.DEMO.resolve() in (root, *root.parents)


def render(params: Params, summary: dict[str, Any], template: Path = TEMPLATE, *, synthetic: bool) -> str:
    """The card as Markdown."""
    figures = {f"{group}/{name}": row for group, names in summary.items() for name, row in names.items()}
    metrics = list(dict.fromkeys(metric for row in figures.values() for metric in row))
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, keep_trailing_newline=True)  # noqa: S701  # Markdown
    rendered: str = environment.from_string(files.existing(template).read_text(encoding="utf-8")).render(
        params=params,
        names=params.methods,
        start=text.weights_name(params.model.weights),
        optimiser=text.OPTIMISERS[params.train.optimiser],
        synthetic=synthetic,
        data_name=PurePath(params.data.root).name,
        positive="the class named in `data/prepared/summary.json` (ALL in C-NMC)",
        metrics=[metric.replace("_", " ") for metric in metrics],
        rows=[
            (name, ["–" if (value := row.get(metric)) is None else f"{value:.3f}" for metric in metrics])
            for name, row in figures.items()
        ],
    )
    return rendered
