"""The static site: pages from templates, tables as CSV, and the files the pages need, all in one folder."""

import base64
import hashlib
import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import jinja2
from ruamel.yaml import YAML

from job import files
from job.reporting import published, text
from job.reporting.figures import Page
from job.reporting.inputs import ReportInputs
from job.reporting.pages import appendix, data, decisions, errors, method, overview, performance, scores, self_training
from job.reporting.pages.appendix import Moment

TEMPLATES = Path("report_templates")
WHOLE = Page(slug="whole", title="The whole report")
# Families by the file that holds them, all weights in one.
_FONTS = {"Source Sans 3": "source-sans-3.woff2", "Source Serif 4": "source-serif-4.woff2"}
Pages = tuple[Callable[[ReportInputs], Page | None], ...]
_MODULES = (overview, data, performance, self_training, errors, decisions, method, appendix)
PAGES: Pages = tuple(module.page for module in _MODULES)
# Of predictions that come from elsewhere, without a split or a run of this pipeline.
SCORED: Pages = (scores.page, decisions.page)

FRAME = "frame.json"
"""What stands around every page, so that a page can be added to a finished site without the report's inputs."""
# DVC leaves moment.html and added.js out of the cached report (.dvcignore): the cached pages must stay as they are,
# because DVC neither pulls nor checks out over an output that somebody has changed.
_SIGN = ("added.js", "// moment.html is here: report.js leads to it.\n")


def render(inputs: ReportInputs, folder: Path, templates: Path = TEMPLATES, makers: Pages = PAGES) -> list[str]:
    """Write the site into an empty `folder`; the names of its pages. Same inputs give the same bytes.

    Beside the pages there is whole.html, which holds all of them.

    Raises:
        jinja2.UndefinedError: a template names something the page does not give.
    """
    pages = [page for make in makers if (page := make(inputs)) is not None]
    for name in ("assets", "vendor"):
        # The fonts are in fonts.js.
        ignore = shutil.ignore_patterns("*.woff2")
        shutil.copytree(templates / name, folder / name, ignore=ignore, copy_function=shutil.copyfile)
    (folder / "csv").mkdir()
    frame = _frame(inputs, pages)
    files.write_json(folder / FRAME, frame)
    jinja = environment(templates)
    files.write_text(folder / "assets" / "fonts.js", _fonts(templates, jinja))
    for page in pages:
        files.write_text(folder / f"{page.slug}.html", _html(page, frame, jinja))
        for table in [*page.tables.values(), *(figure.table for figure in page.figures.values())]:
            files.write_text(folder / "csv" / f"{table.file}.csv", table.csv())
        for name, content in page.files.items():
            path = folder / name
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(content)
    files.write_text(folder / f"{WHOLE.slug}.html", _html(_whole(pages, frame, jinja), frame, jinja))
    return [f"{page.slug}.html" for page in pages]


def render_moment(frame: dict[str, Any], moment: Moment, templates: Path = TEMPLATES) -> dict[str, str]:
    """The files of what only the moment knows, by name: a page, and the script that tells the others of it."""
    page = appendix.moment_page(moment)
    return {f"{page.slug}.html": _html(page, frame, environment(templates))} | dict([_SIGN])


def _frame(inputs: ReportInputs, pages: list[Page]) -> dict[str, Any]:
    """`run` is a digest of the evaluation, by which two printed reports are told apart."""
    return {
        "title": inputs.params.report.title,
        "dataset": inputs.evaluation["name"],
        "synthetic": inputs.evaluation["synthetic"],
        "patients_known": inputs.prepared.get("patients_known", True),
        "unit": inputs.unit,
        "cnmc": set(inputs.classes) == {"ALL", "HEM"},
        "classes": inputs.classes,
        "positive": inputs.evaluation["positive"],
        "methods": inputs.methods,
        "folds": [int(fold) for fold in inputs.evaluation["folds"]],
        "navigation": [[f"{page.slug}.html", page.title] for page in pages],
        "run": hashlib.sha256(json.dumps(inputs.evaluation, sort_keys=True).encode()).hexdigest()[:8],
    }


def _citation(templates: Path) -> dict[str, str]:
    """Who made this software, and its title, version, date and licence; nothing without CITATION.cff."""
    path = templates.resolve().parent / "CITATION.cff"
    if not path.is_file():
        return {}
    cited = YAML(typ="safe").load(path)
    authors = [author.get("name") or f"{author['given-names']} {author['family-names']}" for author in cited["authors"]]
    parts = [cited["title"], f"version {cited['version']}", cited.get("date-released"), cited["license"]]
    return {"authors": text.listed(authors), "what": ", ".join(str(part) for part in parts if part)}


def _html(page: Page, frame: dict[str, Any], jinja: jinja2.Environment, layout: str = "base.html") -> str:
    parts = {"page": page, "facts": page.facts, "tables": page.tables, "figures": page.figures}
    template = jinja.get_template(f"{page.template or page.slug}.html")
    return template.render(layout=layout, current=f"{page.slug}.html", **frame, **parts)


def _whole(pages: list[Page], frame: dict[str, Any], jinja: jinja2.Environment) -> Page:
    """All pages in one. Their links to each other stay inside it; no two sections of the site have the same id."""
    slugs = "|".join(re.escape(page.slug) for page in pages)
    # Data cannot look like such a link: its quotes are escaped in text, in attributes and in JSON.
    links = re.compile(rf'href="({slugs})\.html(?:#([\w-]+))?"')

    def inside(match: re.Match[str]) -> str:
        return f'href="#{match[2] or "page-" + match[1]}"'

    chapters = [links.sub(inside, _html(page, frame, jinja, "chapter.html")) for page in pages]
    return replace(WHOLE, facts={"contents": pages, "chapters": chapters})


def _fonts(templates: Path, jinja: jinja2.Environment) -> str:
    """A script that holds the fonts themselves."""
    vendor = templates / "vendor"
    fonts = [(family, base64.b64encode((vendor / name).read_bytes()).decode()) for family, name in _FONTS.items()]
    return jinja.get_template("fonts.js").render(fonts=fonts)


def environment(templates: Path = TEMPLATES) -> jinja2.Environment:
    """Templates with autoescape always on, and an error for every name that is not given."""
    jinja = jinja2.Environment(
        loader=jinja2.FileSystemLoader(templates),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    filters = [text.cell, text.count, text.counted, text.listed, text.method_name, text.model_name, text.name]
    filters += [text.percent, text.short]
    jinja.globals |= {"reference": published.REFERENCE, "citation": _citation(templates), "zip": zip}
    jinja.filters.update({function.__name__: function for function in filters})
    return jinja
