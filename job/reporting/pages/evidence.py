"""Evidence: each subject by itself, calibration, operating points, abstention, and the image-level mistake."""

from __future__ import annotations

from typing import Any

from job.reporting import text
from job.reporting.inputs import ReportInputs
from job.reporting.page import Page
from job.reporting.tables import Column, Table

POINTS = {
    "half": "One half",
    "sensitivity": "Required sensitivity",
    "youden": "Youden",
    "cost": "Cost-weighted",
}


def page(inputs: ReportInputs) -> Page | None:
    """Left out when no ensemble was evaluated."""
    found = inputs.evaluation
    if not inputs.models(kind="ensemble"):
        return None
    tables: dict[str, Table] = {}
    if found["calibration"]:
        tables |= {"calibration": _calibration(found), "abstention": _abstention(found)}
    if found["image_level"]:
        tables["image_level"] = _image_level(found["image_level"])
    tested = [entry for entry in found["patients"] if entry["role"] == "test"]
    shown = [entry for entry in tested if entry["model"].endswith("/majority")] or tested
    if shown:
        tables |= {"patients": _patients(shown, inputs), "spread": _spread(shown)}
    if found["operating_points"]:
        tables["operating_points"] = _operating_points(found)
    return Page(slug="evidence", title="Evidence", tables=tables, facts={
        "warnings": found["evidence"]["warnings"],
        "blast_share": found["evidence"]["blast_share"],
        "positive": found["positive"],
        "image_level": text.model_name(found["image_level"]["model"]) if found["image_level"] else None,
        "wanted_error": inputs.params.evaluation.error,
        "sensitivity": inputs.params.evaluation.sensitivity,
        "miss_cost": inputs.params.evaluation.miss_cost,
    })  # fmt: skip


def _patients(entries: list[dict[str, Any]], inputs: ReportInputs) -> Table:
    columns = [
        Column("model", "Model", "name"), Column("subject", "Subject", "name"), Column("truth", "Truth", "name"),
        Column("images", "Cells seen", "count"), Column("right", "Right", "count"),
        Column("accuracy", "Right, %", "percent"),
    ]  # fmt: skip
    two = inputs.evaluation["positive"] is not None
    if two:
        name = text.name(inputs.evaluation["positive"])
        columns += [
            Column("called", f"Called {name}", "count"), Column("share", f"Called {name}, %", "percent"),
            Column("low", "from", "percent", "95 %"), Column("high", "to", "percent", "95 %"),
            Column("call", "By the rule"),
        ]  # fmt: skip
    rows = []
    for entry in entries:
        for row in entry["subjects"]:
            held = [name for name, count in zip(inputs.classes, row["truth"], strict=True) if count]
            cells = [
                text.model_name(entry["model"]), row["subject"], " + ".join(held), row["images"], row["right"],
                row["accuracy"],
            ]  # fmt: skip
            if two:
                right = row["called_positive"] == row["positive"]
                cells += [
                    row["called"][inputs.classes.index(inputs.evaluation["positive"])], row["share_positive"],
                    row["low"], row["high"], "right" if right else "wrong",
                ]  # fmt: skip
            rows.append(cells)
    return Table("patients", "Test subjects, the least accurate first.", columns, rows)


def _spread(entries: list[dict[str, Any]]) -> Table:
    parts = ("lowest", "q1", "median", "q3", "highest")
    columns = [
        Column("model", "Model", "name"), Column("subjects", "Subjects", "count"),
        *(Column(part, part.capitalize(), "percent", "Accuracy of a subject, %") for part in parts),
        *(
            Column(f"{rate}_{key}", label, kind, f"Persons by the rule: {rate}")
            for rate in ("sensitivity", "specificity")
            for key, label, kind in (("right", "right", "count"), ("of", "of", "count"), ("low", "from, %", "percent"),
                                     ("high", "to, %", "percent"))
        ),
        Column("auroc", "AUROC of persons", "ratio"),
    ]  # fmt: skip
    rows = []
    for entry in entries:
        rule = entry.get("rule", {})
        shares = [rule.get(rate, {}).get(key) for rate in ("sensitivity", "specificity")
                  for key in ("right", "of", "low", "high")]  # fmt: skip
        rows.append([
            text.model_name(entry["model"]), len(entry["subjects"]), *(entry["accuracy"][part] for part in parts),
            *shares, entry.get("auroc"),
        ])  # fmt: skip
    return Table("patients-spread", "How subjects differ, and what the rule says of persons.", columns, rows)


def _calibration(found: dict[str, Any]) -> Table:
    names = ("ece", "brier", "log_loss")
    columns = [
        Column("method", "Method", "name"), Column("temperature", "Temperature", "ratio"),
        *(
            Column(f"{role}_{when}_{name}", f"{text.METRICS[name].label} {when}", "ratio", f"On {role} images")
            for role in ("validation", "test") for name in names for when in ("before", "after")
        ),
    ]  # fmt: skip
    rows = [
        [
            text.method_name(entry["method"]), entry["temperature"],
            *(entry[role][when]["metrics"][name]
              for role in ("validation", "test") for name in names for when in ("before", "after")),
        ]
        for entry in found["calibration"]
    ]  # fmt: skip
    return Table("calibration", "Calibration before and after the temperature.", columns, rows)


def _operating_points(found: dict[str, Any]) -> Table:
    columns = [
        Column("method", "Method", "name"), Column("point", "Threshold chosen by"),
        Column("threshold", "Threshold", "ratio"),
        *(Column(f"validation_{rate}", f"{rate.capitalize()}, %", "percent", "Validation")
          for rate in ("sensitivity", "specificity")),
        *(Column(name, name, "count", "Test") for name in ("TP", "FN", "FP", "TN")),
        *(
            Column(f"{rate}{end}", label, "percent", "Test")
            for rate in ("sensitivity", "specificity")
            for end, label in (("", f"{rate.capitalize()}, %"), ("_low", "from"), ("_high", "to"))
        ),
    ]  # fmt: skip
    rows = []
    for entry in found["operating_points"]:
        for point in entry["points"]:
            own, tested, ends = (point.get(key) or {} for key in ("validation", "test", "intervals"))
            rows.append([
                text.method_name(entry["method"]), POINTS[point["name"]], point["threshold"],
                own.get("sensitivity"), own.get("specificity"), *(tested.get(n) for n in ("TP", "FN", "FP", "TN")),
                tested.get("sensitivity"), *(ends.get("sensitivity") or [None, None]),
                tested.get("specificity"), *(ends.get("specificity") or [None, None]),
            ])  # fmt: skip
    return Table("operating-points", "Thresholds chosen on validation images, tried on test images.", columns, rows)


def _abstention(found: dict[str, Any]) -> Table:
    columns = [
        Column("method", "Method", "name"), Column("rule", "Cells that are kept"),
        Column("kept", "Kept", "count"), Column("share_refused", "Left to a pathologist, %", "percent"),
        Column("errors", "Wrong", "count"), Column("error", "Wrong of the kept, %", "percent"),
    ]  # fmt: skip
    rows = []
    for entry in found["abstention"]:
        name = text.method_name(entry["method"])
        shown = [("all", entry["confidence"]["curve"][-1])]
        if entry["chosen"]:
            shown.append((f"probability {entry['chosen']['test']['confidence']:.3f} or more", entry["chosen"]["test"]))
        if entry["agreement"]:
            shown += [
                (f"agreement of {text.percent(level['confidence'])} of the voters or more", level)
                for level in entry["agreement"]["curve"]
            ]
        rows += [[name, what, p["kept"], 1 - p["coverage"], p["errors"], p["error"]] for what, p in shown]
    return Table("abstention", "Refusing doubtful test cells.", columns, rows)


def _image_level(found: dict[str, Any]) -> Table:
    columns = [
        Column("metric", "Metric"), Column("value", "Value", "ratio"),
        Column("low", "from", "ratio", "Over subjects"), Column("high", "to", "ratio", "Over subjects"),
        Column("images_low", "from", "ratio", "As if images were independent: wrong"),
        Column("images_high", "to", "ratio", "As if images were independent: wrong"),
    ]  # fmt: skip
    rows = [
        [text.METRICS[name].label, entry["value"], *entry["subjects"], *entry["images"]]
        for name, entry in found["metrics"].items()
    ]
    return Table("image-level", "Intervals over subjects and over images.", columns, rows)
