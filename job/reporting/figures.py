"""Pages and their figures: Plotly figures that are built from the table that stands under them.

A colour is a CSS custom property (`var(--series-1)`). The pages' script puts its value in, so that a figure follows the
reader's light or dark theme. Every method has one colour, marker and dash on all pages; baselines are grey; classes
differ by fill. Colour is never the only difference.
"""

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from job.reporting import text
from job.reporting.tables import Table

INK, MUTED, RULE, SURFACE, NONE = "var(--ink)", "var(--muted)", "var(--rule)", "var(--surface)", "rgba(0,0,0,0)"
FONT = '"Source Sans 3", "Sans fallback", sans-serif'
_AXIS = {
    "title": {"standoff": 8, "font": {"size": 14}}, "gridcolor": RULE, "linecolor": RULE, "zeroline": False,
    "automargin": True, "hoverformat": ".3~f"
}  # fmt: skip
TEMPLATE = go.layout.Template(layout={
    "font": {"family": FONT, "size": 14, "color": INK}, "paper_bgcolor": SURFACE, "plot_bgcolor": SURFACE,
    "margin": {"l": 8, "r": 12, "t": 48, "b": 8}, "xaxis": _AXIS, "yaxis": _AXIS, "hovermode": "closest",
    "legend": {"orientation": "h", "x": 0, "xanchor": "left", "y": 1.01, "yanchor": "bottom", "traceorder": "normal"},
    "hoverlabel": {"bgcolor": SURFACE, "bordercolor": RULE, "font": {"color": INK}}, "dragmode": "zoom",
    "modebar": {"bgcolor": NONE, "color": MUTED, "activecolor": INK}
})  # fmt: skip
"""Colours, fonts and margins of every figure."""


class Look(NamedTuple):
    """How a series is told from others."""

    colour: str
    symbol: str
    dash: str


_LOOKS = {
    "EfficientNet": Look("var(--series-1)", "circle", "solid"),
    "Noisy Student": Look("var(--series-2)", "square", "dash"),
    "Linear probe": Look("var(--series-3)", "triangle-up", "dashdot"),
    "Meta Pseudo Labels": Look("var(--series-4)", "diamond", "longdash"),
    "FixMatch": Look("var(--series-5)", "pentagon", "longdashdot"),
    "All methods": Look(INK, "star", "solid"),
}
GREY = Look(MUTED, "x", "dot")


def look(name: str, position: int = 0) -> Look:
    """The look of a method. Baselines are grey; other people's models take the looks by their position."""
    if (method := text.method_name(name)) in _LOOKS:
        return _LOOKS[method]
    return GREY if name.startswith(("Always ", "Cell size")) else list(_LOOKS.values())[position % len(_LOOKS)]


@dataclass(frozen=True)
class Figure:
    """A figure of a page.

    `title` says the finding; what is drawn stands in the template, `caption` has the numbers in it. `table` holds the
    values and `plot` was built from it. `height` is in rem and reserved, so that drawing moves nothing. `opened` tables
    are shown, others open on request. A `square` figure is as wide as it is high.
    """

    title: str
    table: Table
    plot: go.Figure
    caption: str = ""
    height: float = 24
    opened: bool = False
    square: bool = False


@dataclass(frozen=True)
class Page:
    """One page of the site.

    `slug` names the page's file and, where `template` is empty, its template (`slug.html` both), and `title` its entry
    in the navigation. The template sees `tables`, `figures` and `facts` under these names; `files` are written beside
    it, by path.
    """

    slug: str
    title: str
    facts: Mapping[str, Any] = field(default_factory=dict)
    tables: Mapping[str, Table] = field(default_factory=dict)
    figures: Mapping[str, Figure] = field(default_factory=dict)
    files: Mapping[str, bytes] = field(default_factory=dict)
    template: str = ""


def label(value: str) -> str:
    """Text for Plotly, which reads HTML-like tags and entities in labels: escaped, so that a name stays a name."""
    return html.escape(value, quote=False)


def plot(traces: Sequence[go.Scatter | go.Bar], x: dict[str, Any], y: dict[str, Any], **layout: Any) -> go.Figure:
    """A figure of these traces with the report's template; `x`, `y` and `layout` are Plotly's."""
    return go.Figure(list(traces), {"template": TEMPLATE, "xaxis": x, "yaxis": y, **layout})


def axis(title: str, **options: Any) -> dict[str, Any]:
    """An axis with its title; `options` are Plotly's."""
    return {"title": {"text": title}, **options}


def rows_axis(names: Sequence[str]) -> dict[str, Any]:
    """An axis of named rows, the first on top; the row n is at y = n."""
    ticks = {"tickvals": list(range(len(names))), "ticktext": [label(name) for name in names]}
    return axis("", range=[len(names) - 0.4, -0.6], **ticks)


def vertical(x: float, **options: Any) -> dict[str, Any]:
    """A dotted line over the whole height at `x`, for a layout's `shapes`."""
    line = {"color": MUTED, "width": 1, "dash": "dot"}
    return {"type": "line", "x0": x, "x1": x, "y0": 0, "y1": 1, "yref": "paper", "line": line, **options}


def points(
    name: str, x: Sequence[Any], y: Sequence[Any], style: Look, *, filled: bool = True, **options: Any
) -> go.Scatter:
    """Markers of one series, filled or open; `options` are Plotly's."""
    outline = {"color": style.colour, "width": 2}
    marker = {"color": style.colour if filled else NONE, "symbol": style.symbol, "size": 9, "line": outline}
    return go.Scatter(mode="markers", name=label(name), x=list(x), y=list(y), marker=marker, **options)


def intervals(name: str, ends: Sequence[Sequence[float | None]], y: Sequence[float], style: Look) -> go.Scatter:
    """Values in rows with bars over their intervals: `ends` are values, low and high ends; None is not drawn."""
    x, low, high = ends
    array = [0 if at is None or end is None else end - at for at, end in zip(x, high, strict=True)]
    minus = [0 if at is None or end is None else at - end for at, end in zip(x, low, strict=True)]
    bars = {"symmetric": False, "thickness": 2, "array": array, "arrayminus": minus}
    return points(name, x, y, style, error_x=bars, hoverinfo="x+name")


def line(
    name: str, x: Sequence[Any], y: Sequence[Any], style: Look, width: float = 3, mode: str = "lines", **options: Any
) -> go.Scatter:
    """A line of one series; thin ones are pale, for single folds."""
    stroke = {"color": style.colour, "width": width, "dash": style.dash, **options.pop("line", {})}
    marker = {"color": style.colour, "symbol": style.symbol, "size": 8}
    options = {"opacity": 0.55 if width < 2 else 1} | options
    return go.Scatter(mode=mode, name=label(name), x=list(x), y=list(y), line=stroke, marker=marker, **options)


def bars(name: str, x: Sequence[Any], y: Sequence[Any], style: Look, *, filled: bool = True) -> go.Bar:
    """Bars of one series, solid or open with hatching."""
    pattern = {"shape": "" if filled else "/", "fgcolor": style.colour, "bgcolor": SURFACE, "size": 6}
    marker = {"color": style.colour, "pattern": pattern, "line": {"color": style.colour, "width": 1.5}}
    return go.Bar(name=label(name), x=list(x), y=list(y), marker=marker)


def panels(x: str, upper: str, lower: str, heads: Sequence[str] = ("",)) -> go.Figure:
    """Two empty rows of panels over one axis `x`, a column per heading; traces are added by row and column."""
    spaces = {"vertical_spacing": 0.06, "horizontal_spacing": 0.02}
    shared = {"shared_xaxes": True, "shared_yaxes": True, "column_titles": [label(head) for head in heads]}
    figure = make_subplots(rows=2, cols=len(heads), **shared, **spaces)
    figure.update_annotations(yanchor="top", font={"color": MUTED, "size": 12})
    figure.update_xaxes(title=axis(x)["title"], row=2)
    return figure.update_layout(template=TEMPLATE, yaxis=axis(upper), **{f"yaxis{len(heads) + 1}": axis(lower)})
