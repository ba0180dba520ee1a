"""Errors: the test cells whose vote is wrong, the closest calls, and where the folds looked."""

from typing import Any

import pandas as pd

from job.reporting import cells, text
from job.reporting.figures import Page
from job.reporting.inputs import Gallery, ReportInputs
from job.reporting.pages.patients import cells_table
from job.reporting.tables import Table, columns


def page(inputs: ReportInputs) -> Page | None:
    """Left out when no method has a majority vote."""
    if not inputs.voting:
        return None
    files: dict[str, bytes] = {}
    predicted = {method: inputs.cells_of(method) for method in inputs.voting}
    galleries = [
        (text.method_name(method), text.slug(method), _groups(inputs, gallery, method, predicted[method], files))
        for method in inputs.telling
        if (gallery := inputs.gallery)
    ]
    return Page(
        slug="errors",
        title="Errors",
        facts={
            "galleries": galleries,
            "collapsed": [text.method_name(method) for method in inputs.voting if method not in inputs.telling],
            "files": [(text.method_name(method), text.slug(method)) for method in inputs.voting],
            "divided": [
                (text.method_name(method), differ, len(table))
                for method, table in predicted.items()
                if (differ := int((table["predicted"] != table["mean_predicted"]).sum()))
            ],
            "pictures": bool(inputs.gallery and inputs.gallery.pixels is not None),
            "maps": inputs.gallery.maps.shape[1] if inputs.gallery else 0,
            "size": inputs.prepared["size"],
        },
        tables={
            "counts": _counts(inputs, predicted),
            **{f"cells-{method}": cells_table(inputs, method) for method in inputs.voting},
        },
        files=files,
    )


def _groups(
    inputs: ReportInputs, gallery: Gallery, method: str, predicted: pd.DataFrame, files: dict[str, bytes]
) -> list[dict[str, Any]]:
    """The groups of one method's gallery: errors by class, then the closest calls that are not among them."""
    chosen = gallery.cells[gallery.cells["method"] == method]
    wrong, close = (chosen[chosen["group"] == group] for group in ("error", "uncertain"))
    # The positive class first: what is missed matters more than a false alarm.
    order = sorted(inputs.classes, key=lambda name: name != inputs.evaluation["positive"])
    parts = [*(wrong[wrong["label"] == name] for name in order), close[~close["image"].isin(wrong["image"])]]
    return [_group(inputs, gallery, predicted, part, files) for part in parts if len(part)]


def _group(
    inputs: ReportInputs, gallery: Gallery, predicted: pd.DataFrame, chosen: pd.DataFrame, files: dict[str, bytes]
) -> dict[str, Any]:
    """One group of the gallery with its cards; pictures go into `files`."""
    kind, label, count = chosen["group"].iloc[0], chosen["label"].iloc[0], int(chosen["of"].iloc[0])
    total = int((predicted["label"] == label).sum())
    cards = []
    for position, image, row in zip(chosen.index, chosen["image"], chosen["row"].astype(int), strict=True):
        card = {"image": image, "cell": "", "map": "", **predicted.loc[image].to_dict()}
        if gallery.pixels is not None:
            card["cell"], card["map"] = f"cells/{row}.webp", f"cells/{position}-map.webp"
            files[card["cell"]] = cells.thumbnail(gallery.pixels[row])
            files[card["map"]] = cells.overlay(gallery.pixels[row], gallery.maps[position])
        cards.append(card)
    if kind == "uncertain":
        title = "Closest calls"
    elif label == inputs.evaluation["positive"]:
        title = f"Missed {text.name(label)} cells: {text.count(count)} of {text.count(total)}"
    elif inputs.evaluation["positive"] and len(inputs.classes) == 2:
        title = f"False alarms: {text.count(count)} of {text.counted(total, f'{text.name(label)} cell')}"
    else:
        title = f"{text.name(label)} cells predicted as another class: {text.count(count)} of {text.count(total)}"
    return {"kind": kind, "title": title, "cards": cards, "of": count}


def _counts(inputs: ReportInputs, predicted: dict[str, pd.DataFrame]) -> Table:
    patients_known = inputs.prepared.get("patients_known", True)
    heads = columns("name", method="Method", label="Class") + columns("count", images="Test cells", wrong="Wrong")
    heads += columns("percent", share="Wrong, %") + columns("count", unanimous="Wrong and unanimous")
    heads += columns("count", patients="Patients with an error") if patients_known else []
    rows = []
    for method, table in predicted.items():
        for name in inputs.classes:
            of_class = table[table["label"] == name]
            wrong = of_class[~of_class["correct"]]
            share = len(wrong) / len(of_class) if len(of_class) else None
            unanimous = int((wrong["votes"] == wrong["voters"]).sum())
            patients = [wrong.loc[wrong["patient"] != "", "patient"].nunique()] if patients_known else []
            rows.append([text.method_name(method), name, len(of_class), len(wrong), share, unanimous, *patients])
    return Table("errors-by-class", "Errors of each majority vote on the test set.", heads, rows)
