"""Numbers in the place of names: patients and files of a report are told apart and not told."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import replace
from itertools import chain
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from job.reporting.inputs import ReportInputs


def pseudonymous(inputs: ReportInputs) -> ReportInputs:
    """The same with every patient, subject and image renamed.

    The numbers follow the names' digests, so that they say nothing about the order of the names.
    """
    frame, copies = inputs.predictions, inputs.prepared["copies"]
    linked = copies["linked_patients"]
    patients = _numbers("Patient", chain(frame["patient"], frame["subject"], *linked))
    images = _numbers("Cell", frame["image"])
    gallery = inputs.gallery
    return replace(
        inputs,
        predictions=frame.assign(
            patient=frame["patient"].map(patients),
            subject=frame["subject"].map(patients),
            image=frame["image"].map(images),
        ),
        prepared={
            **inputs.prepared,
            "copies": {**copies, "linked_patients": [[patients[name] for name in names] for names in linked]},
        },
        gallery=gallery and replace(gallery, cells=gallery.cells.assign(image=gallery.cells["image"].map(images))),
    )


def _numbers(word: str, names: Iterable[str]) -> dict[str, str]:
    order = sorted(set(names), key=lambda name: hashlib.sha256(name.encode()).digest())
    return {name: f"{word} {position}" for position, name in enumerate(order, start=1)}
