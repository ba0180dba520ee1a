"""The static site: pages from templates, tables as CSV, and the files the pages need, all in one folder."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jinja2

from job.reporting import text
from job.reporting.inputs import ReportInputs
from job.reporting.page import Page
from job.reporting.pages import data, ensemble, folds, method, overview, provenance, self_training
from job.reporting.pages.provenance import Moment

TEMPLATES = Path("report_templates")
_PAGES: tuple[Callable[[ReportInputs], Page | None], ...] = (
    overview.page, data.page, folds.page, self_training.page, ensemble.page, method.page, provenance.page,
)  # fmt: skip


class Entry(NamedTuple):
    """One entry of the navigation."""

    href: str
    title: str


def render(inputs: ReportInputs, folder: Path, templates: Path = TEMPLATES) -> list[str]:
    """Write the whole site into an empty `folder`; the names of its pages. Same inputs give the same bytes.

    Raises:
        jinja2.UndefinedError: a template names something the page does not give.
    """
    pages = _pages(inputs)
    for name in ("assets", "vendor"):
        shutil.copytree(templates / name, folder / name, copy_function=shutil.copyfile)
    (folder / "csv").mkdir()
    jinja = environment(templates)
    for page in pages:
        _write(folder / f"{page.slug}.html", _html(page, pages, inputs, jinja))
        for table in [*page.tables.values(), *(figure.table for figure in page.figures.values())]:
            _write(folder / "csv" / f"{table.file}.csv", table.csv())
    return [f"{page.slug}.html" for page in pages]


def render_provenance(inputs: ReportInputs, moment: Moment, templates: Path = TEMPLATES) -> str:
    """The provenance page with what only the moment knows; it takes the place of the one that `render` wrote."""
    return _html(provenance.page(inputs, moment), _pages(inputs), inputs, environment(templates))


def _pages(inputs: ReportInputs) -> list[Page]:
    return [page for make in _PAGES if (page := make(inputs)) is not None]


def _html(page: Page, pages: list[Page], inputs: ReportInputs, jinja: jinja2.Environment) -> str:
    return jinja.get_template(f"{page.slug}.html").render(
        page=page, facts=page.facts, tables=page.tables, figures=page.figures,
        navigation=list(_navigation(pages)), current=f"{page.slug}.html",
        title=inputs.params.report.title, synthetic=inputs.synthetic, dataset=inputs.evaluation["name"],
    )  # fmt: skip


def _navigation(pages: list[Page]) -> Iterator[Entry]:
    for page in pages:
        yield Entry(f"{page.slug}.html", page.title)


def environment(templates: Path = TEMPLATES) -> jinja2.Environment:
    """Templates with autoescape always on, and an error for every name that is not given."""
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(templates),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    filters: dict[str, Callable[..., Any]] = {
        "cell": text.cell, "count": text.count, "counted": text.counted, "listed": text.listed, "name": text.name,
        "percent": text.percent,
    }  # fmt: skip
    made.filters.update(filters)
    return made


def _write(path: Path, content: str) -> None:
    path.write_text(content, encoding="utf-8", newline="\n")
