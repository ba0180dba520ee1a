"""Errors: the test cells whose vote is wrong, the closest calls, sure ones to compare with, and where folds looked."""

from itertools import product
from typing import Any

import numpy as np
import pandas as pd

from job.reporting import cells, text
from job.reporting.figures import Page
from job.reporting.inputs import ReportInputs
from job.reporting.pages.patients import cells_table
from job.reporting.tables import Table, columns


def page(inputs: ReportInputs) -> Page:
    """The errors of every method; never left out."""
    predicted, addresses = {method: inputs.cells_of(method) for method in inputs.methods}, cells.addresses(inputs)
    files = _pictures(inputs, addresses)
    shown = inputs.telling if inputs.gallery else []
    galleries = [_gallery(inputs, method, predicted[method], addresses, files) for method in shown]
    return Page(
        slug="errors",
        title="Errors",
        facts={
            "inputs": inputs,
            "galleries": galleries,
            "divided": [
                (text.method_name(method), differ, len(table))
                for method, table in predicted.items()
                if (differ := int((table["predicted"] != table["mean_predicted"]).sum()))
            ],
            "pictures": bool(addresses),
            "maps": inputs.gallery.maps.shape[1] if inputs.gallery else 0,
            "coarsest": cells.COARSEST,
        },
        tables={
            "counts": counts(inputs, predicted),
            **{f"cells-{method}": cells_table(inputs, method) for method in inputs.methods},
        },
        files=files,
    )


def _pictures(inputs: ReportInputs, addresses: dict[str, str]) -> dict[str, bytes]:
    """The pictures of test cells, those of the gallery large enough to look at."""
    gallery = inputs.gallery
    if gallery is None or gallery.pixels is None or not inputs.telling:
        return {}
    rows = inputs.predictions[inputs.predictions["role"] == "test"].drop_duplicates("image").set_index("image")["row"]
    large = set(gallery.cells.loc[gallery.cells["method"].isin(inputs.telling), "image"])
    return {
        name: cells.thumbnail(gallery.pixels[int(rows[image])], cells.LARGE if image in large else cells.SMALL)
        for image, name in addresses.items()
    }


def _gallery(
    inputs: ReportInputs, method: str, predicted: pd.DataFrame, addresses: dict[str, str], files: dict[str, bytes]
) -> dict[str, Any]:
    """One method's groups: sure and correct, errors by class, then closest calls that are in none of these.

    Its activation maps go into `files`.
    """
    gallery, maps, positive = inputs.gallery, cells.maps(inputs, method), inputs.evaluation["positive"]
    assert gallery is not None
    chosen = gallery.cells[gallery.cells["method"] == method].drop_duplicates("image")
    cards: dict[Any, dict[str, Any]] = {}
    for position, image, row in zip(chosen.index, chosen["image"], chosen["row"].astype(int), strict=True):
        pictures = {"cell": addresses.get(image, ""), "map": maps.get(image, "")}
        cards[position] = {**predicted.loc[image].to_dict(), "image": image, **pictures}
        if pictures["map"] and gallery.pixels is not None:
            pixels, activation = gallery.pixels[row], gallery.maps[position]
            files[pictures["map"]] = cells.overlay(pixels, activation)
            cards[position]["inside"] = cells.inside(pixels, activation)
    # The positive class first: what is missed matters more than a false alarm.
    labels = chosen["label"].where(chosen["group"] != "uncertain", "")
    parts = sorted(chosen.groupby(["group", labels], sort=False), key=lambda part: (part[0][0], part[0][1] != positive))
    shares = [card["inside"] for card in cards.values() if "inside" in card]
    return {
        "name": text.method_name(method),
        "slug": text.slug(method),
        "groups": [
            {
                "title": _title(inputs, predicted, str(kind), str(label), of := int(part["of"].iloc[0])),
                "kind": kind,
                "of": of,
                "cards": [cards[position] for position in part.index],
            }
            for (kind, label), part in parts
        ],
        "patients": sorted({card["patient"] for card in cards.values()} - {""}),
        "inside": np.mean(shares, axis=0).tolist() if shares else None,
    }


def _title(inputs: ReportInputs, predicted: pd.DataFrame, kind: str, label: str, count: int) -> str:
    """What one group of the gallery holds."""
    if kind == "uncertain":
        return "Undecided"
    if kind == "correct":
        return f"Sure and correct, to compare with: {text.name(label)}"
    total, positive = int((predicted["label"] == label).sum()), inputs.evaluation["positive"]
    if label == positive:
        return f"Missed {text.name(label)} cells: {text.count(count)} of {text.count(total)}"
    if positive and len(inputs.classes) == 2:
        return f"False alarms: {text.count(count)} of {text.counted(total, f'{text.name(label)} cell')}"
    return f"{text.name(label)} cells predicted as another class: {text.count(count)} of {text.count(total)}"


def counts(inputs: ReportInputs, predicted: dict[str, pd.DataFrame]) -> Table:
    """Errors by class and what was predicted instead: a confusion matrix per model, in the rows of its `cells_of`."""
    voted, patients = bool(inputs.methods), inputs.prepared.get("patients_known", True)
    heads = columns("name", method="Method", label="Class") + columns("count", images="Test cells", wrong="Wrong")
    heads += columns("percent", share="Wrong, %")
    heads += columns("count", "Predicted", **{f"predicted.{n}": text.name(c) for n, c in enumerate(inputs.classes)})
    heads += columns("count", unanimous="Wrong and unanimous") if voted else []
    heads += columns("count", "Patients", patients="With an error", of="of") if patients else []
    rows = []
    for (method, table), name in product(predicted.items(), inputs.classes):
        of_class = table[table["label"] == name]
        wrong = of_class[~of_class["correct"]]
        rows.append(
            {
                "method": text.method_name(method) if voted else method,
                "label": name,
                "images": len(of_class),
                "wrong": len(wrong),
                "share": len(wrong) / len(of_class) if len(of_class) else None,
                "predicted": [int((of_class["predicted"] == other).sum()) for other in inputs.classes],
                "unanimous": int((wrong["votes"] == wrong["voters"]).sum()),
                "patients": wrong.loc[wrong["patient"] != "", "patient"].nunique(),
                "of": of_class.loc[of_class["patient"] != "", "patient"].nunique(),
            }
        )
    return Table.of("errors-by-class", "Errors by class on the test set.", heads, rows)
