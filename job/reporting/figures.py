"""Figures: a finding as title, a Plotly specification without colours of its own, and the numbers as a table.

A colour is the name of a CSS custom property (`--series-1`); the page's script puts the value in, so that a figure
follows the reader's light or dark theme. Series also differ by marker or dash: colour is never the only carrier.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from job.reporting import drawing
from job.reporting.tables import Table

Trace = dict[str, Any]

INK, MUTED, RULE, SURFACE = "--ink", "--muted", "--rule", "--surface"
SERIES = ("--series-1", "--series-2", "--series-3", "--series-4", "--series-5", "--series-6")
DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "cross", "x", "star", "pentagon", "hexagon", "bowtie")


# A row of dots counts downwards and is 1 high: the vote stands below the folds, which it would hide.
BELOW = 0.3


@dataclass(frozen=True)
class Figure:
    """A figure of a page: `title` says the finding, `caption` what is drawn, `table` holds the numbers.

    `spec` is `{"data": traces, "layout": layout}` for Plotly; `height` is one of small, medium, large, tall (CSS
    classes), fixed so that drawing moves nothing on the page.
    """

    title: str
    caption: str
    spec: dict[str, Any]
    table: Table
    height: str = "medium"

    @property
    def svg(self) -> Markup:
        """The figure as a still drawing."""
        return drawing.svg(self.spec, self.height)


def label(value: str) -> str:
    """Text for Plotly, which reads HTML-like tags and entities in labels: escaped, so that a name stays a name."""
    return html.escape(value, quote=False)


def series(position: int) -> tuple[str, str]:
    """Colour and marker of the series at a position (from 0)."""
    return SERIES[position % len(SERIES)], SYMBOLS[position % len(SYMBOLS)]


def percents(shares: Iterable[float | None]) -> list[float | None]:
    """Shares as percentages; an undefined one stays a gap."""
    return [None if share is None else round(100 * share, 5) for share in shares]


def axis(title: str, **options: Any) -> dict[str, Any]:
    """An axis with its title, a light grid and no zero line; `options` are Plotly's."""
    return {
        "title": {"text": title, "standoff": 8, "font": {"size": 14}}, "gridcolor": RULE, "linecolor": RULE,
        "zeroline": False, "automargin": True, "fixedrange": True, **options,
    }  # fmt: skip


def spec(data: Sequence[Trace], x: dict[str, Any], y: dict[str, Any], **layout: Any) -> dict[str, Any]:
    """A Plotly specification in the report's look."""
    return {
        "data": list(data),
        "layout": {
            "xaxis": x,
            "yaxis": y,
            "font": {"family": '"Source Sans 3", "Sans fallback", sans-serif', "size": 14, "color": INK},
            "paper_bgcolor": SURFACE,
            "plot_bgcolor": SURFACE,
            "margin": {"l": 8, "r": 12, "t": 44, "b": 8},
            "legend": {
                "orientation": "h",
                "x": 0,
                "xanchor": "left",
                "y": 1.02,
                "yanchor": "bottom",
                "traceorder": "normal",
            },
            "hoverlabel": {"bgcolor": SURFACE, "bordercolor": RULE, "font": {"color": INK}},
            "hovermode": "closest",
            "dragmode": False,
            **layout,
        },
    }


def vertical(x: float) -> dict[str, Any]:
    """A dotted line over the whole height at `x`, for a layout's `shapes`."""
    return {
        "type": "line", "x0": x, "x1": x, "y0": 0, "y1": 1, "yref": "paper",
        "line": {"color": MUTED, "width": 1, "dash": "dot"},
    }  # fmt: skip


def points(name: str, x: Sequence[Any], y: Sequence[Any], position: int, **options: Any) -> Trace:
    """Markers of one series."""
    colour, symbol = series(position)
    marker = {"color": colour, "symbol": symbol, "size": 10, "line": {"color": colour, "width": 2}}
    marker.update(options.pop("marker", {}))
    return {
        "type": "scatter",
        "mode": "markers",
        "name": label(name),
        "x": list(x),
        "y": list(y),
        "marker": marker,
        **options,
    }


def spread(of: int) -> list[float]:
    """Where the models of a row's folds stand in it: in its upper half, apart, so that equal ones show as two."""
    return [round(-0.08 - 0.34 * n / max(of - 1, 1), 3) for n in range(of)]


def line(name: str, x: Sequence[Any], y: Sequence[Any], position: int, **options: Any) -> Trace:
    """A line of one series; `line` in `options` adds to its style."""
    colour, symbol = series(position)
    style = {"color": colour, "width": 2, **options.pop("line", {})}
    return {
        "type": "scatter", "mode": "lines+markers", "name": label(name), "x": list(x), "y": list(y), "line": style,
        "marker": {"color": colour, "symbol": symbol, "size": 7}, **options,
    }  # fmt: skip


def bars(name: str, x: Sequence[Any], y: Sequence[Any], position: int, **options: Any) -> Trace:
    """Bars of one series, each position with its own hatching."""
    colour, _ = series(position)
    pattern = {
        "shape": ("", "/", ".", "x", "\\", "+")[position % 6],
        "fillmode": "overlay",
        "fgcolor": SURFACE,
        "size": 7,
    }
    return {
        "type": "bar", "name": label(name), "x": list(x), "y": list(y),
        "marker": {"color": colour, "pattern": pattern}, **options,
    }  # fmt: skip
