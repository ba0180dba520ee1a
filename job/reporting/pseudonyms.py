"""Numbers in the place of names: patients and files of a report are told apart and not told."""

import hashlib
import re
from collections.abc import Iterable
from dataclasses import replace
from itertools import chain
from typing import Any

from job.reporting.inputs import ReportInputs


def pseudonymous(inputs: ReportInputs) -> ReportInputs:
    """The same with every patient, subject and image renamed.

    The numbers follow the names' digests, so that they say nothing about the order of the names.
    """
    frame, copies = inputs.predictions, inputs.prepared["copies"]
    linked, near = copies["linked_patients"], inputs.prepared["near_copies"]
    judged = [row for entry in inputs.evaluation["patients"] for row in entry["subjects"]]
    named = [name for row in judged for name in (row["subject"], *row["patients"])]
    named += [row[key] for row in inputs.split["patients"] for key in ("patient", "subject")]
    patients = _numbers("Patient", chain(frame["patient"], frame["subject"], named, *linked))
    images = _numbers("Cell", frame["image"])
    gallery, left = inputs.gallery, inputs.split["left_out"]
    whose = f" of patients? {re.escape(', '.join(left['patients']))}(?= left out)"
    return replace(
        inputs,
        predictions=frame.assign(
            **{name: frame[name].map(patients) for name in ("patient", "subject")}, image=frame["image"].map(images)
        ),
        evaluation={
            **inputs.evaluation,
            "patients": [
                {**entry, "subjects": [_renamed(row, patients) for row in entry["subjects"]]}
                for entry in inputs.evaluation["patients"]
            ],
        },
        split={
            **inputs.split,
            "patients": [_renamed(row, patients) for row in inputs.split["patients"]],
            "left_out": {**left, "patients": [], "sentences": [re.sub(whose, "", one) for one in left["sentences"]]},
        },
        prepared={
            **inputs.prepared,
            "copies": {**copies, "linked_patients": [[patients[name] for name in names] for names in linked]},
            "near_copies": {**near, "links": [_renamed(entry, patients) for entry in near["links"]]},
            # Reasons name files too (a second file of that name, a row without its file), so none is told.
            "refusals": [],
            "reasons": [{"reason": "not told: report.pseudonyms", "files": inputs.prepared["rejected"]}],
            # Warnings that name patients begin so, those that name files say "such as"; the others count.
            "warnings": [
                w for w in inputs.prepared["warnings"] if not w.startswith("Patients ") and "such as" not in w
            ],
        },
        gallery=gallery and replace(gallery, cells=gallery.cells.assign(image=gallery.cells["image"].map(images))),
    )


def _renamed(row: dict[str, Any], patients: dict[str, str]) -> dict[str, Any]:
    names = {key: patients[row[key]] for key in ("patient", "subject") if key in row}
    return row | names | ({"patients": [patients[name] for name in row["patients"]]} if "patients" in row else {})


def _numbers(word: str, names: Iterable[str]) -> dict[str, str]:
    order = sorted(set(names) - {""}, key=lambda name: hashlib.sha256(name.encode()).digest())
    # Nobody's images stay nobody's: a number would make them one person's.
    return {"": ""} | {name: f"{word} {position}" for position, name in enumerate(order, start=1)}
