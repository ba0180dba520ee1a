"""`python -m benchmarks.study_charts`: the tables of `make study` as small charts, docs/study-*.svg (needs chromium).

Plotly draws them in the browser, as it draws the report's figures.
"""

from collections.abc import Sequence
from pathlib import Path
from urllib.parse import unquote

import pandas as pd
import plotly.graph_objects as go
from playwright.sync_api import sync_playwright
from plotly.offline import get_plotlyjs

from benchmarks.study import ONCE, RESULTS, SHARES
from benchmarks.study_tables import CONTROLS, STEPS
from job.files import write_text

CHROMIUM = "/usr/bin/chromium"
DOCS = Path("docs")
AUROC = "AUROC per patient, 95 % interval over patients"


def main() -> None:
    """A chart of each table that is there."""
    charts = {}
    choice = _read("choice")
    if len(choice):
        rows = [f"per patient, {part}" for part in ("value", "low", "high")]
        charts["choice"] = forest(choice, "candidate", rows, f"{AUROC}: held-out folds of the training part")
    systems = _read("systems")
    for where, table in systems[systems["test set"].isin(ONCE)].groupby("test set", sort=False):
        rows = [f"AUROC per patient{part}" for part in ("", ", low", ", high")]
        name = f"systems-{str(where).replace(',', '').replace(' ', '-').lower()}"
        # A majority's AUROC is that of the mean probability: one row for the two.
        shown = table[~table["system"].str.endswith((", mean", "out of fold"))].dropna(subset=rows[0])
        charts[name] = forest(shown, "system", rows, f"{AUROC}: {where}")
    for share in SHARES:
        table = _read(f"self_training_{round(100 * share)}")
        if len(table):
            rows = [f"{CONTROLS[STEPS]}{end}" for end in ("", ", low", ", high")]
            title = f"AUROC less that of labelled images alone with the same steps: {share:.0%} of the labels"
            charts[f"self-training-{round(100 * share)}"] = forest(table.dropna(subset=rows[0]), "arm", rows, title, 0)
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


def forest(table: pd.DataFrame, name: str, columns: Sequence[str], title: str, line: float | None = None) -> go.Figure:
    """A row per entry of the column `name`: a value with its interval, the three `columns`; a line at `line`."""
    value, low, high = (table[column].astype(float) for column in columns)
    points = go.Scatter(
        x=value.tolist(), y=table[name].tolist(), mode="markers", marker={"size": 9, "color": "#1f5fa8"},
        error_x={"type": "data", "array": (high - value).tolist(), "arrayminus": (value - low).tolist(), "width": 0},
    )  # fmt: skip
    figure = go.Figure(points, {
        "template": "simple_white", "title": {"text": title, "font": {"size": 14}}, "height": 110 + 34 * len(table),
        "yaxis": {"autorange": "reversed", "automargin": True}, "margin": {"l": 8, "r": 16, "t": 48, "b": 36},
        "xaxis": {"showgrid": True}, "font": {"family": "sans-serif", "size": 13},
    })  # fmt: skip
    # The template's own lines have no width.
    return (
        figure
        if line is None
        else figure.add_vline(line, line={"dash": "dot", "width": 2, "color": "#767676"}, opacity=1)
    )


def _read(name: str) -> pd.DataFrame:
    path = RESULTS / f"{name}.csv"
    return pd.read_csv(path) if path.is_file() else pd.DataFrame({"test set": []})


if __name__ == "__main__":
    main()
