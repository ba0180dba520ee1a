"""Rendering a site for a test, and reading its pages back."""

import contextlib
import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd

from job import params
from job.evaluation import gallery
from job.reporting import inputs, site
from job.reporting.figures import Page
from job.seeds import generator
from job.stages import report
from tests.fixtures.run_tree import REPOSITORY, run_evidence, write_run_tree


def make_tree(root: Path, change: Callable[[Path], object] = lambda _: None, **options) -> Path:
    """A tree of results with a finished site; `change` is applied before the evidence is made."""
    write_run_tree(root, **options)
    change(root)
    run_evidence(root)
    write_explanations(root)
    (root / "report_templates").symlink_to(REPOSITORY / "report_templates")
    render(root)
    return root


def write_explanations(root: Path) -> None:
    """What the stage `explain` writes, with maps of no network."""
    with contextlib.chdir(root):
        evaluation = json.loads(Path("results/evaluation.json").read_text())
        text = dict.fromkeys(("fold", "iteration"), str)  # empty for what is no fold
        frame = pd.read_csv("results/predictions.csv", keep_default_na=False, dtype=text)
        cells = gallery.cells(frame, evaluation["methods"], evaluation["classes"], params.load().explain.cells)
        cells["row"] = pd.read_csv("data/split.csv").set_index("image").loc[cells["image"], "row"].to_numpy()
        folder = Path("results/explanations")
        folder.mkdir()
        cells.to_csv(folder / "cells.csv", index=False)
        np.save(folder / "maps.npy", generator(0, "maps").integers(0, 256, (len(cells), 7, 7), dtype=np.uint8))


def edit_json(path: Path, change: Callable[[dict], dict]) -> None:
    path.write_text(json.dumps(change(json.loads(path.read_text()))))


def render(root: Path) -> str:
    with contextlib.chdir(root):
        return report.run()


def read_inputs(root: Path) -> inputs.ReportInputs:
    with contextlib.chdir(root):
        return inputs.read(params.load())


def rename_classes(root: Path, names: dict[str, str]) -> None:
    """Give the classes of a tree other names everywhere the report reads them, as data with such names would."""

    def renamed(value):
        if isinstance(value, dict):
            return {names.get(key, key): renamed(item) for key, item in value.items()}
        if isinstance(value, list):
            return [renamed(item) for item in value]
        if isinstance(value, str) and value.startswith("baseline/always_"):
            return "baseline/always_" + names[value.removeprefix("baseline/always_")]
        return names.get(value, value) if isinstance(value, str) else value

    edit_json(root / "results" / "evaluation.json", renamed)
    edit_json(
        root / "data" / "split.json",
        lambda split: {
            **split, "target": {names[name]: entry for name, entry in split["target"].items()},
            "patients": renamed(split["patients"]),
        },
    )  # fmt: skip
    edit_json(
        root / "data" / "prepared" / "summary.json",
        lambda summary: {**summary, "cell_side": renamed(summary["cell_side"])},
    )
    path = root / "results" / "predictions.csv"
    frame = pd.read_csv(path, keep_default_na=False)
    frame = frame.rename(
        columns={f"{kind}_{old}": f"{kind}_{new}" for old, new in names.items() for kind in ("p", "votes")}
    )
    frame[["label", "predicted"]] = frame[["label", "predicted"]].replace(names)
    frame.to_csv(path, index=False)
    path = root / "results" / "explanations" / "cells.csv"
    cells = pd.read_csv(path, keep_default_na=False)
    cells[["label", "predicted"]] = cells[["label", "predicted"]].replace(names)
    cells.to_csv(path, index=False)


def rename_people(root: Path, renamed: Callable[[str, int], str]) -> dict[str, str]:
    """Give patients, subjects and images of a tree other names, before its evidence is made; the names by the old ones.

    `renamed` makes a new name of an old one and its number. Images keep their order: it is that of the split.
    """
    read = {path: pd.read_csv(path, keep_default_na=False, dtype=str) for path in root.rglob("*.csv")}
    columns = ("image", "patient", "subject")
    old = {name: None for table in read.values() for column in columns if column in table for name in table[column]}
    names = {name: renamed(name, number) if name else name for number, name in enumerate(old)}
    for path, table in read.items():
        own = {column: table[column].map(names) for column in columns if column in table}
        table.assign(**own).to_csv(path, index=False, lineterminator="\n")
    edit_json(
        root / "data" / "split.json",
        lambda split: split | {"patients": [
            row | {key: names[row[key]] for key in ("patient", "subject")} for row in split["patients"]
        ]},
    )  # fmt: skip
    return names


class Reader(HTMLParser):
    """Tables of a page as rows of texts, every tag with its attributes, and the visible text."""

    def __init__(self) -> None:
        super().__init__()
        self.tables: list[list[list[str]]] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.visible = ""
        self._cell: str | None = None
        self._script = False

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in {"td", "th"}:
            self._cell = ""
        self._script = tag == "script"

    def handle_endtag(self, tag):
        if tag in {"td", "th"}:
            self.tables[-1][-1].append(" ".join(self._cell.split()))
            self._cell = None
        self._script = False

    def handle_data(self, data):
        if self._cell is not None:
            self._cell += data
        if not self._script:
            self.visible += data


def read_page(path: Path) -> Reader:
    return read(path.read_text(encoding="utf-8"))


def read(html: str) -> Reader:
    reader = Reader()
    reader.feed(html)
    return reader


def plain(shown: str) -> str:
    """With spaces of one kind."""
    return re.sub(r"\s+", " ", shown)


def said(make: Callable[[inputs.ReportInputs], Page], evidence: inputs.ReportInputs) -> str:
    """The text of one page."""
    page = make(evidence)
    html = site._html(page, site._frame(evidence, [page]), site.environment(REPOSITORY / "report_templates"))
    return plain(read(html).visible)
