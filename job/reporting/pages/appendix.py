"""Appendix: every parameter of the run; and, added later, experiments, commit, machine and digests."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any

from job.reporting import text
from job.reporting.figures import Page
from job.reporting.inputs import ReportInputs
from job.reporting.tables import Table, columns, interval_columns, metric_columns

_HEADLINES = {"balanced_accuracy": "majority", "sensitivity": "majority", "specificity": "majority", "auroc": "mean"}
"""Metrics of an experiment and the rule of the vote that has each, as `results/summary.json` nests them."""


@dataclass(frozen=True)
class Experiment:
    """One run: `name` is None for this report's own, `parent` the commit it started from, `date` in UTC or None.

    `parameters` holds every value by its dotted name, `changed` the names that differ from the parent's, `metrics` what
    `results/summary.json` holds, empty for a run that did not end.
    """

    name: str | None
    parent: str
    date: str | None
    parameters: dict[str, Any]
    changed: list[str]
    metrics: dict[str, Any]


@dataclass(frozen=True)
class Comparison:
    """Two revisions by `names`; a `unit`, patient or image, counts once.

    `parameters` are those that differ: name and both values. `figures` has a row per vote and metric: both values with
    their intervals, then the second minus the first: difference, interval, patients better, patients; None where there
    is nothing. `images` are those of both test sets and those that they share; `same` says whether these are all.
    """

    names: tuple[str, str]
    unit: str
    parameters: Sequence[tuple[str, Any, Any]]
    figures: Sequence[Sequence[Any]]
    images: tuple[int, int, int]
    same: bool

    @property
    def verdict(self) -> str:
        """Whether the figures may be subtracted, in words."""
        if self.same:
            return f"Both were tested on the same {text.counted(self.images[0], 'image')} of the same {self.unit}s."
        return (
            f"The test sets differ ({text.count(self.images[0])} and {text.counted(self.images[1], 'image')}, "
            f"{text.count(self.images[2])} in both): the figures are no comparison, and no difference is given."
        )


@dataclass(frozen=True)
class Moment:
    """What depends on the moment a report was finished, not on its inputs.

    `commit` is the Git commit, of `date`, or None outside a repository; `changed` whether tracked files differ from it;
    `versions` package versions by name; `outputs` are stage, path and MD5 digest from `dvc.lock`; `times` has one
    mapping per trained fold with `method`, `fold` and, where the log has them, `device`, `seconds` and
    `images_per_second`.
    """

    commit: str | None
    changed: bool
    python: str
    platform: str
    processor: str
    experiments: Sequence[Experiment] = ()
    versions: dict[str, str] = field(default_factory=dict)
    outputs: list[tuple[str, str, str]] = field(default_factory=list)
    times: list[dict[str, Any]] = field(default_factory=list)
    comparison: Comparison | None = None
    date: str = ""


def page(inputs: ReportInputs) -> Page:
    """The parameters; never left out."""
    rows: list[tuple[str, str]] = []
    for section, settings in inputs.params.model_dump().items():
        if section == "demo" and not inputs.evaluation["synthetic"]:
            continue
        if isinstance(settings, dict):
            rows += [(f"{section}.{key}", _shown(f"{section}.{key}", value)) for key, value in settings.items()]
        else:
            rows.append((section, ", ".join(map(str, settings))))
    table = Table("parameters", "Parameters.", columns("name", parameter="Parameter", value="Value"), rows)
    return Page(slug="appendix", title="Appendix", tables={"parameters": table})


def moment_page(moment: Moment) -> Page:
    """Experiments, commit and machine; without logs it shows no times."""
    packages = columns("name", package="Package", version="Version")
    outputs = columns("name", stage="Stage", path="Output", md5="MD5")
    times = columns("method", method="Method") + columns("name", fold="Fold", device="Device")
    times += columns("rate", seconds="Seconds", images_per_second="Images per second")
    tables = {
        "experiments": _experiments(moment.experiments),
        "versions": Table("package-versions", "Packages.", packages, list(moment.versions.items())),
        "times": Table.of("training-times", "Training time of each fold.", times, moment.times),
        "outputs": Table("outputs", "Outputs.", outputs, moment.outputs),
    }
    tables |= comparison_tables(moment.comparison) if moment.comparison else {}
    return Page(slug="moment", title="Experiments, code and machine", facts={"moment": moment}, tables=tables)


def comparison_tables(found: Comparison) -> dict[str, Table]:
    """What differs between two revisions, and their figures side by side."""
    first, second = found.names
    heads = columns("name", parameter="Parameter", first=first, second=second)
    changed = [[key, *(None if v is None else _shown(key, v) for v in both)] for key, *both in found.parameters]
    numbers = columns("name", model="Model", metric="Metric")
    for key, group in (("first", first), ("second", second), ("difference", f"{second} minus {first}")):
        numbers += interval_columns("ratio", group, key)
    numbers += columns("count", f"{found.unit.capitalize()}s", positive="Better in", negative="worse in", subjects="of")
    rows = [[text.model_name(model), text.METRICS[metric].label, *row] for model, metric, *row in found.figures]
    return {
        "changed": Table("changed", "Parameters that differ.", heads, changed),
        "figures": Table("compared", f"Figures per {found.unit}, with 95 % intervals.", numbers, rows),
    }


def _experiments(experiments: Sequence[Experiment]) -> Table:
    methods = [name for name in dict.fromkeys(key for one in experiments for key in one.metrics) if name != "baseline"]
    heads = columns("name", experiment="Experiment", data="Data", changed="Changed parameters")
    for method in methods:
        heads += metric_columns(_HEADLINES, text.method_name(method), f"{method}_")
    heads += columns("text", date="When (UTC)", parent="From commit")
    rows = []
    for one in experiments:
        name = "This report" if one.name is None else one.name
        data = _shown("data.root", one.parameters.get("data.root", ""))
        changed = ", ".join(f"{key}={_shown(key, one.parameters[key])}" for key in one.changed) or "none"
        metrics = [one.metrics.get(method, {}) for method in methods]
        values = [rules.get(rule, {}).get(metric) for rules in metrics for metric, rule in _HEADLINES.items()]
        rows.append([name, data, changed, *values, one.date, one.parent or None])
    marks = ["strong" if one.name is None else "" for one in experiments]
    return Table("experiments", "Experiments of this repository.", heads, rows, marks)


def _shown(key: str, value: object) -> str:
    # Where things lie tells of one person's machine; their own names tell which they are.
    return PurePath(str(value)).name if key in {"data.root", "model.weights"} else str(value) or "none"
