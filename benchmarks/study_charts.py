"""`python -m benchmarks.study_charts`: the tables of `make study` as small charts, docs/study-*.svg (needs chromium).

Plotly draws them in the browser, as it draws the report's figures.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import unquote

import pandas as pd
import plotly.graph_objects as go
from playwright.sync_api import sync_playwright
from plotly.offline import get_plotlyjs

from benchmarks.study import ONCE, RESULTS, SHARES
from job.files import write_text

CHROMIUM = "/usr/bin/chromium"
DOCS = Path("docs")
COLOURS = ("#1f5fa8", "#c2571a", "#4a7c59")
AUROC = "AUROC per patient, 95 % interval over patients"


def main() -> None:
    """A chart of each table that is there."""
    charts = {}
    choice = _read("choice")
    if len(choice):
        rows = [f"per patient, {part}" for part in ("value", "low", "high")]
        charts["choice"] = forest({"": choice}, "candidate", rows, f"{AUROC}: held-out folds of the training part")
    systems = _read("systems")
    for where, table in systems[systems["test set"].isin(ONCE)].groupby("test set", sort=False):
        rows = [f"AUROC per patient{part}" for part in ("", ", low", ", high")]
        name = f"systems-{str(where).replace(',', '').replace(' ', '-').lower()}"
        # A majority's AUROC is that of the mean probability: one row for the two.
        shown = table[~table["system"].str.endswith((", mean", "out of fold"))].dropna(subset=rows[0])
        charts[name] = forest({"": shown}, "system", rows, f"{AUROC}: {where}")
    by_share = {f"{share:.0%} of the labels": _read(f"self_training_{round(100 * share)}") for share in SHARES}
    if found := {name: table for name, table in by_share.items() if len(table)}:
        charts["self-training"] = forest(found, "arm", ["value", "low", "high"], f"{AUROC}: few labels, seed 1")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page()
        page.set_content("<title>charts</title>")
        page.add_script_tag(content=get_plotlyjs())
        for name, chart in charts.items():
            options = {"format": "svg", "width": 760, "height": chart.layout.height}
            url = page.evaluate("([figure, options]) => Plotly.toImage(figure, options)", [chart.to_dict(), options])
            path = DOCS / f"study-{name}.svg"
            write_text(path, unquote(url.split(",", 1)[1]) + "\n")
            print(path)


def forest(tables: Mapping[str, pd.DataFrame], name: str, columns: Sequence[str], title: str) -> go.Figure:
    """A row per entry of the column `name`, in it a value with its interval of each table: the three `columns`."""
    points = []
    for (series, table), colour in zip(tables.items(), COLOURS, strict=False):
        value, low, high = (table[column].astype(float) for column in columns)
        ends = {"type": "data", "array": (high - value).tolist(), "arrayminus": (value - low).tolist(), "width": 0}
        points.append(go.Scatter(
            x=value.tolist(), y=table[name].tolist(), error_x=ends, name=series, orientation="h", mode="markers",
            marker={"size": 9, "color": colour},
        ))  # fmt: skip
    every = pd.concat(tables.values())
    rows, around = every[name].nunique(), [every[columns[1]].min() - 0.02, every[columns[2]].max() + 0.02]
    return go.Figure(points, {
        "template": "simple_white", "title": {"text": title, "font": {"size": 14}}, "scattermode": "group",
        "height": 110 + (22 + 12 * len(tables)) * rows, "yaxis": {"autorange": "reversed", "automargin": True},
        "margin": {"l": 8, "r": 16, "t": 48, "b": 36}, "xaxis": {"showgrid": True, "range": around},
        "font": {"family": "sans-serif", "size": 13}, "showlegend": len(tables) > 1,
        "legend": {"orientation": "h", "y": -0.08},
    })  # fmt: skip


def _read(name: str) -> pd.DataFrame:
    path = RESULTS / f"{name}.csv"
    return pd.read_csv(path) if path.is_file() else pd.DataFrame({"test set": []})


if __name__ == "__main__":
    main()
