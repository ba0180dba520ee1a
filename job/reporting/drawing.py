"""A figure's specification as a still SVG: what readers without JavaScript and paper get.

Draws the part of Plotly's vocabulary that `job.reporting.figures` and the pages use: lines, markers, bars side by side
or stacked, error bars, filled outlines, category and linear axes, shapes that are lines, annotations. Colours are CSS
custom properties, so a drawing follows the reader's theme as the live figure does.
"""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from markupsafe import Markup

WIDTH = 720
HEIGHTS = {"small": 336, "medium": 384, "large": 480, "tall": 960}
_RIGHT, _BOTTOM, _LINE, _CHARACTER = 16, 52, 22, 6.6
_DASHES = {"dot": "2 3", "dash": "7 4", "dashdot": "7 3 2 3", "longdash": "11 4", "longdashdot": "11 3 2 3"}


@dataclass(frozen=True)
class Scale:
    """From a value to a place on the paper; names of categories count from 0."""

    low: float
    high: float
    start: float
    end: float
    names: tuple[str, ...] = ()

    def __call__(self, value: Any) -> float:
        """Position in pixels."""
        number = self.names.index(value) if value in self.names else float(value)
        return self.start + (number - self.low) / (self.high - self.low) * (self.end - self.start)


def svg(spec: dict[str, Any], height: str) -> Markup:
    """The drawing of one figure; `height` is the figure's. Decorative: title and table stand beside it."""
    data, layout, tall = spec["data"], spec["layout"], HEIGHTS[height]
    keys = [trace for trace in data if trace.get("showlegend", True) and trace.get("name")]
    legend, top = _legend(keys) if len(keys) > 1 else ("", 12.0)
    bars = [trace for trace in data if trace["type"] == "bar"]
    stacked = layout.get("barmode") == "stack"
    # The axis reaches to the top of the stacks.
    sized = [*data, _sums(bars)] if stacked else data
    labels = _tick_labels(layout["yaxis"], sized, "y")
    left = min(200.0, 46 + _CHARACTER * max((len(text) for _, text in labels), default=4))
    x = _scale(layout["xaxis"], sized, "x", left, WIDTH - _RIGHT)
    y = _scale(layout["yaxis"], sized, "y", tall - _BOTTOM, top)
    parts = [legend, *_axes(layout, sized, x, y)]
    parts += [_shape(shape, x, y) for shape in layout.get("shapes", ())]
    share, bases = 1 - layout.get("bargap", 0.2), dict[str, float]()
    for trace in data:
        if trace["type"] == "bar" and stacked:
            parts.append(_bars(trace, 0, 1, share, x, y, bases))
        elif trace["type"] == "bar":
            parts.append(_bars(trace, bars.index(trace), len(bars), share, x, y))
        else:
            parts.append(_scatter(trace, x, y))
    parts += [_annotation(note, x, y) for note in layout.get("annotations", ())]
    body = "".join(parts)
    size = f'viewBox="0 0 {WIDTH} {tall}" width="{WIDTH}" height="{tall}"'
    return Markup(f'<svg {size} aria-hidden="true" focusable="false">{body}</svg>')  # noqa: S704  _text escapes


def _text(x: float, y: float, value: Any, anchor: str = "middle", colour: str = "--ink", size: int = 13) -> str:
    # Labels are already escaped for Plotly, titles of axes are not: both end up escaped once.
    safe = html.escape(html.unescape(str(value)).replace("<br>", " "))
    style = f'text-anchor="{anchor}" fill="{_colour(colour)}" font-size="{size}"'
    return f'<text x="{x:.1f}" y="{y:.1f}" {style}>{safe}</text>'


def _colour(name: str) -> str:
    if name.startswith("--"):
        return f"var({name})"
    return "none" if name == "rgba(0,0,0,0)" else html.escape(name)


def _legend(keys: Sequence[dict[str, Any]]) -> tuple[str, float]:
    parts, x, y = [], 8.0, 16.0
    for trace in keys:
        width = 40 + _CHARACTER * len(html.unescape(trace["name"]))
        if x > 8 and x + width > WIDTH - _RIGHT:
            x, y = 8.0, y + _LINE
        ends = {"x": [0, 1], "y": [0, 0]} if "lines" in trace.get("mode", "") else {"x": [0.5], "y": [0]}
        sample = {key: trace[key] for key in ("mode", "marker", "line", "opacity") if key in trace} | ends
        across, down = Scale(0, 1, x, x + 22), Scale(-1, 1, y - 2, y - 6)
        if trace["type"] == "bar":
            parts.append(f'<rect x="{x + 4:.1f}" y="{y - 10:.1f}" width="13" height="12" {_bar_paint(trace)}/>')
        else:
            parts.append(_scatter(sample, across, down))
        parts.append(_text(x + 28, y, trace["name"], "start"))
        x += width
    return "".join(parts), y + 16


def _names(data: Sequence[dict[str, Any]], letter: str) -> tuple[str, ...]:
    values = [value for trace in data for value in trace[letter] if value is not None]
    return tuple(dict.fromkeys(values)) if values and all(isinstance(value, str) for value in values) else ()


def _scale(axis: dict[str, Any], data: Sequence[dict[str, Any]], letter: str, start: float, end: float) -> Scale:
    names = _names(data, letter)
    if names:
        low, high = -0.5, len(names) - 0.5
    elif "range" in axis:
        low, high = axis["range"]
    else:
        values = list(_numbers(data, letter)) + [v for v in axis.get("tickvals", ()) if isinstance(v, int | float)]
        low, high = min(values, default=0.0), max(values, default=1.0)
        pad = 0.06 * (high - low) or 0.5
        # Bars stand on the axis.
        low, high = 0.0 if low == 0 and any(trace["type"] == "bar" for trace in data) else low - pad, high + pad
    if axis.get("autorange") == "reversed":
        low, high = high, low
    return Scale(low, high, start, end, names)


def _numbers(data: Sequence[dict[str, Any]], letter: str) -> Iterable[float]:
    for trace in data:
        yield from (float(value) for value in trace[letter] if value is not None)
        error = trace.get(f"error_{letter}")
        if error:
            for value, up, down in zip(trace[letter], error["array"], error["arrayminus"], strict=True):
                if None not in {value, up, down}:
                    yield from (value - down, value + up)
        if trace["type"] == "bar":
            yield 0.0


def _sums(bars: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """A trace of the stacks' heights."""
    heights: dict[str, float] = {}
    for trace in bars:
        for name, value in zip(trace["x"], trace["y"], strict=True):
            heights[name] = heights.get(name, 0.0) + (value or 0)
    return {"type": "bar", "x": list(heights), "y": list(heights.values())}


def _tick_labels(axis: dict[str, Any], data: Sequence[dict[str, Any]], letter: str) -> list[tuple[Any, str]]:
    if not axis.get("showticklabels", True):
        return []
    names = _names(data, letter)
    if names:
        return [(name, name) for name in names]
    if "tickvals" in axis:
        values = axis["tickvals"]
        return list(zip(values, axis.get("ticktext", [f"{value:g}" for value in values]), strict=True))
    scale = _scale(axis, data, letter, 0, 1)
    low, high = sorted((scale.low, scale.high))
    step = axis.get("dtick") or _step(high - low)
    first = math.ceil(low / step - 1e-9)
    values = [i * step for i in range(first, math.floor(high / step + 1e-9) + 1)]
    return [(value, f"{value:g}".replace("-", "\N{MINUS SIGN}")) for value in values]


def _step(span: float) -> float:
    """The round number that divides a span into four to eight parts."""
    power: float = 10.0 ** math.floor(math.log10(span / 4))
    return next(power * factor for factor in (1, 2, 5, 10) if span / (power * factor) <= 8)


def _axes(layout: dict[str, Any], data: Sequence[dict[str, Any]], x: Scale, y: Scale) -> list[str]:
    parts = []
    rule = 'stroke="var(--rule)"'
    for value, label in _tick_labels(layout["xaxis"], data, "x"):
        at = x(value)
        if not x.names:
            parts.append(f'<path d="M{at:.1f} {y.start:.1f}V{y.end:.1f}" {rule}/>')
        parts.append(_text(at, y.start + 18, label))
    for value, label in _tick_labels(layout["yaxis"], data, "y"):
        at = y(value)
        parts.append(f'<path d="M{x.start:.1f} {at:.1f}H{x.end:.1f}" {rule}/>')
        parts.append(_text(x.start - 8, at + 4, label, "end"))
    parts.append(f'<path d="M{x.start:.1f} {y.end:.1f}V{y.start:.1f}H{x.end:.1f}" {rule} fill="none"/>')
    parts.append(_text((x.start + x.end) / 2, y.start + 42, layout["xaxis"]["title"]["text"]))
    middle = (y.start + y.end) / 2
    title = _text(0, 0, layout["yaxis"]["title"]["text"])
    parts.append(f'<g transform="translate(16 {middle:.1f}) rotate(-90)">{title}</g>')
    return parts


def _shape(shape: dict[str, Any], x: Scale, y: Scale) -> str:
    def place(letter: str, key: str) -> float:
        scale = x if letter == "x" else y
        if shape.get(f"{letter}ref") == "paper":
            return scale.start + float(shape[key]) * (scale.end - scale.start)
        return scale(shape[key])

    points = f"M{place('x', 'x0'):.1f} {place('y', 'y0'):.1f}L{place('x', 'x1'):.1f} {place('y', 'y1'):.1f}"
    return f'<path d="{points}" {_stroke(shape["line"])}/>'


def _annotation(note: dict[str, Any], x: Scale, y: Scale) -> str:
    at_x = x.start + note["x"] * (x.end - x.start) if note.get("xref") == "paper" else x(note["x"])
    at_y = y.start + note["y"] * (y.end - y.start) if note.get("yref") == "paper" else y(note["y"])
    return _text(at_x, at_y + 12, note["text"], colour=note.get("font", {}).get("color", "--ink"), size=12)


def _stroke(line: dict[str, Any]) -> str:
    dash = _DASHES.get(line.get("dash", ""))
    dashed = f' stroke-dasharray="{dash}"' if dash else ""
    return f'fill="none" stroke="{_colour(line["color"])}" stroke-width="{line.get("width", 2)}"{dashed}'


def _scatter(trace: dict[str, Any], x: Scale, y: Scale) -> str:
    places = [None if a is None or b is None else (x(a), y(b)) for a, b in zip(trace["x"], trace["y"], strict=True)]
    parts = []
    if trace.get("fill") == "toself":
        outline = "L".join(f"{place[0]:.1f} {place[1]:.1f}" for place in places if place)
        parts.append(f'<path d="M{outline}Z" fill="{_colour(trace["fillcolor"])}"/>')
    if "lines" in trace["mode"]:
        path, pen = "", "M"
        for place in places:
            path += f"{pen}{place[0]:.1f} {place[1]:.1f}" if place else ""
            pen = "L" if place else "M"
        parts.append(f'<path d="{path}" {_stroke(trace["line"])}/>')
    parts += [_errors(trace, letter, places, x, y) for letter in ("x", "y") if f"error_{letter}" in trace]
    if "markers" in trace["mode"]:
        parts.append(_markers(trace["marker"], [place for place in places if place]))
    opacity = trace.get("opacity", trace.get("marker", {}).get("opacity", 1))
    return f'<g opacity="{opacity}">{"".join(parts)}</g>' if opacity != 1 else "".join(parts)


def _errors(trace: dict[str, Any], letter: str, places: Sequence[Any], x: Scale, y: Scale) -> str:
    error, scale, path = trace[f"error_{letter}"], x if letter == "x" else y, ""
    for value, up, down, place in zip(trace[letter], error["array"], error["arrayminus"], places, strict=True):
        if None in {value, up, down}:
            continue
        low, high = scale(value - down), scale(value + up)
        path += f"M{low:.1f} {place[1]:.1f}H{high:.1f}" if letter == "x" else f"M{place[0]:.1f} {low:.1f}V{high:.1f}"
    line = {"color": error.get("color", trace["marker"]["color"]), "width": error.get("thickness", 2)}
    return f'<path d="{path}" {_stroke(line)}/>'


def _markers(marker: dict[str, Any], places: Sequence[tuple[float, float]]) -> str:
    r = marker["size"] / 2
    form = _form(marker["symbol"], r)
    path = "".join(f"M{px:.1f} {py:.1f}{form}" for px, py in places)
    line = marker.get("line", {})
    stroke = f' stroke="{_colour(line["color"])}" stroke-width="{line["width"]}"' if line else ""
    return f'<path d="{path}" fill="{_colour(marker["color"])}"{stroke}/>'


def _form(symbol: str, r: float) -> str:
    """A marker of radius `r` around the current point, as relative path commands."""
    if symbol == "circle":
        return f"m{-r:g} 0a{r:g} {r:g} 0 1 0 {2 * r:g} 0a{r:g} {r:g} 0 1 0 {-2 * r:g} 0z"
    corners: dict[str, list[tuple[float, float]]] = {
        "square": [(-1, -1), (1, -1), (1, 1), (-1, 1)],
        "diamond": [(0, -1.3), (1.3, 0), (0, 1.3), (-1.3, 0)],
        "cross": [(-0.4, -1.2), (0.4, -1.2), (0.4, -0.4), (1.2, -0.4), (1.2, 0.4), (0.4, 0.4), (0.4, 1.2),
                  (-0.4, 1.2), (-0.4, 0.4), (-1.2, 0.4), (-1.2, -0.4), (-0.4, -0.4)],
        "x": [(-1, -0.5), (-0.5, -1), (0, -0.5), (0.5, -1), (1, -0.5), (0.5, 0), (1, 0.5), (0.5, 1), (0, 0.5),
              (-0.5, 1), (-1, 0.5), (-0.5, 0)],
        "bowtie": [(-1.2, -0.9), (1.2, 0.9), (1.2, -0.9), (-1.2, 0.9)],
        "triangle-up": _ring(3), "pentagon": _ring(5), "hexagon": _ring(6), "star": _ring(10, inner=0.45),
    }  # fmt: skip
    own = corners[symbol]
    steps = [own[0], *((b[0] - a[0], b[1] - a[1]) for a, b in pairwise(own))]
    return "m" + "l".join(f"{dx * r:.3g} {dy * r:.3g}" for dx, dy in steps) + "z"


def _ring(corners: int, inner: float = 1.0) -> list[tuple[float, float]]:
    turns = [2 * math.pi * i / corners for i in range(corners)]
    radii = [1.2 if i % 2 == 0 else 1.2 * inner for i in range(corners)]
    return [(r * math.sin(turn), -r * math.cos(turn)) for r, turn in zip(radii, turns, strict=True)]


def _bars(
    trace: dict[str, Any], index: int, of: int, share: float, x: Scale, y: Scale,
    bases: dict[str, float] | None = None,
) -> str:  # fmt: skip
    """The bars of one trace; with `bases` each stands on what is stacked there already, and adds to it."""
    across = trace.get("orientation") == "h"
    names, values = (trace["y"], trace["x"]) if across else (trace["x"], trace["y"])
    by_name, by_value = (y, x) if across else (x, y)
    slot = abs(by_name.end - by_name.start) / len(by_name.names)
    width = slot * share / of
    gap = min(1.0, width / 10)
    parts = []
    for position, (name, value) in enumerate(zip(names, values, strict=True)):
        if value is None:
            continue
        base = 0.0 if bases is None else bases.get(name, 0.0)
        if bases is not None:
            bases[name] = base + value
            if value == 0:
                continue
        side = by_name(name) - slot * share / 2 + index * width + gap
        low, high = sorted((by_value(base), by_value(base + value)))
        box = (low, side, high - low, width - 2 * gap) if across else (side, low, width - 2 * gap, high - low)
        left, top, wide, tall = (f"{edge:.1f}" for edge in box)
        parts.append(f'<rect x="{left}" y="{top}" width="{wide}" height="{tall}" {_bar_paint(trace)}/>')
        if "text" in trace:
            middle = side + width / 2
            place = (high + 6, middle + 3, "start") if across else (middle, low - 5, "middle")
            parts.append(_text(place[0], place[1], trace["text"][position], place[2], size=12))
    return "".join(parts)


def _bar_paint(trace: dict[str, Any]) -> str:
    # Hatched in the live figure, paler here: apart without colour in both.
    colour = _colour(trace["marker"]["color"])
    pale = ' fill-opacity=".35"' if trace["marker"]["pattern"]["shape"] else ""
    return f'fill="{colour}"{pale} stroke="{colour}"'
