"""Words and numbers as the report prints them: one place for every format and every name."""

import re
from collections.abc import Callable
from pathlib import PurePath
from typing import Any, NamedTuple

from job.contracts import methods


class Metric(NamedTuple):
    """How a metric is named and explained; `kind` is a cell kind of `cell`."""

    label: str
    kind: str
    definition: str


METRICS: dict[str, Metric] = {
    "accuracy": Metric("Accuracy", "percent", "(TP + TN) / all images: the share of images that are correct."),
    "sensitivity": Metric("Sensitivity", "percent", "TP / (TP + FN): the share of positive images that are found."),
    "specificity": Metric("Specificity", "percent", "TN / (TN + FP): the share of negative images that are cleared."),
    "ppv": Metric("PPV", "percent", "TP / (TP + FP): positive predictive value, the share of alarms that are correct."),
    "npv": Metric("NPV", "percent", "TN / (TN + FN): negative predictive value, the same of negative predictions."),
    "f1": Metric("F1", "percent", "2 TP / (2 TP + FP + FN): harmonic mean of PPV and sensitivity."),
    "weighted_f1": Metric("Weighted F1", "percent", "F1 of each class, averaged with the classes' image counts."),
    "macro_f1": Metric("Macro F1", "percent", "F1 of each class, averaged with equal weight."),
    "balanced_accuracy": Metric(
        "Balanced accuracy", "percent", "Mean of the classes' recalls; with two classes 50 % is chance."
    ),
    "mcc": Metric("MCC", "ratio", "Matthews correlation coefficient, from −1 to 1; 0 is chance."),
    "cohen_kappa": Metric("Cohen’s κ", "ratio", "Agreement of predictions and truth beyond chance, from −1 to 1."),
    "auroc": Metric("AUROC", "ratio", "Chance that a positive image scores higher than a negative one; 0.5 is chance."),
    "auprc": Metric("AUPRC", "ratio", "Average precision over all thresholds; chance is the share of positives."),
    "brier": Metric("Brier score", "ratio", "Mean squared error of the probabilities; lower is better."),
    "log_loss": Metric("Log loss", "ratio", "Mean negative log probability of the truth, in nats; lower is better."),
    "ece": Metric(
        "ECE", "ratio", "Expected calibration error: mean gap between a prediction’s probability and the share correct."
    )
}  # fmt: skip

RULES = {
    "majority": "Majority vote",
    "mean": "Mean probability",
    "calibrated": "Mean logits, calibrated",
    "out_of_fold": "Validation, out of fold",
    "folds": "mean of the folds",
    "teachers": "mean of the teachers",
}
POINTS = {
    "half": "One half",
    "sensitivity": "Required sensitivity",
    "youden": "Youden's index",
    "cost": "Cost-weighted",
}
method_name = methods.method_name
OPTIMISERS = {"sgd": "SGD", "adamw": "AdamW"}
PERCENT = "\N{NARROW NO-BREAK SPACE}%"


def name(value: str) -> str:
    """A name that comes from data; an empty one is said to be empty."""
    return value or "(empty name)"


def baseline_name(model: str) -> str:
    """A baseline's name in prose, such as `baseline/always_ALL`."""
    rule = model.removeprefix("baseline/")
    return "Cell size alone (box area)" if rule == "area" else f"Always {name(rule.removeprefix('always_'))}"


def model_name(model: str) -> str:
    """A model's name in prose, such as `efficientnet/majority` or `baseline/area`."""
    group, _, rest = model.partition("/")
    if not rest:
        return method_name(model)
    return baseline_name(model) if group == "baseline" else f"{method_name(group)}: {RULES.get(rest, rest)}"


def weights_name(weights: str) -> str:
    """What a network started from: a value of `model.weights` in prose. Of a file only its own name is told."""
    return {"imagenet": "ImageNet weights", "none": "random weights"}.get(
        weights, f"weights of the file {PurePath(weights).name}"
    )


def count(value: int) -> str:
    """A whole number with commas between thousands."""
    return f"{value:,}"


def counted(value: int, singular: str, plural: str | None = None) -> str:
    """A count with its noun: `1 fold`, `5 folds`."""
    return f"{value:,} {singular if value == 1 else plural or singular + 's'}"


def percent(share: float | None) -> str:
    """A share as a percentage with one decimal, for prose."""
    return "undefined" if share is None else f"{100 * share:.1f}{PERCENT}"


def points(value: float) -> str:
    """A difference of shares in percentage points, with one decimal and its sign."""
    return f"{100 * value:+.1f}".replace("-", "\N{MINUS SIGN}")


def listed(items: list[str]) -> str:
    """Items as an English list: `a, b and c`."""
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}" if items else ""


def short(value: str, characters: int) -> str:
    """A name cut to fit a drawing."""
    return value if len(value) <= characters else f"{value[: characters - 1]}…"


def slug(value: str) -> str:
    """A part of a file name: lower case, digits and hyphens."""
    return re.sub(r"[^a-z0-9]+", "-", value.lower()).strip("-") or "unnamed"


def cell(value: Any, kind: str) -> str:
    """A table cell as text.

    Kinds: `text`, `name` (from data), `method`, `count`, `percent` (a share, without the sign), `points` (variance of a
    share, as squared percentage points), `ratio` (three decimals), `p`
    (the same, of a probability that is never 0) and `rate` (three significant digits).
    """
    formats: dict[str, Callable[[Any], str]] = {
        "name": lambda v: name(str(v)),
        "method": method_name,
        "count": lambda v: count(round(v)),
        "percent": lambda v: f"{100 * v:.1f}".replace("-", "\N{MINUS SIGN}"),
        "points": lambda v: f"{10_000 * v:.2f}",
        "ratio": lambda v: f"{v:.3f}".replace("-", "\N{MINUS SIGN}"),
        "p": lambda v: f"{v:.3f}" if v >= 0.001 else "< 0.001",
        "rate": lambda v: f"{v:.3g}",
    }
    return "–" if value is None else formats.get(kind, str)(value)
