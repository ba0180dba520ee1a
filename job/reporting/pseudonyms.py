"""Numbers in the place of names: patients and files of a report are told apart and not told."""

import hashlib
import re
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from job.reporting.inputs import ReportInputs

_PEOPLE = {"patient", "subject", "patients", "linked_patients"}
"""Keys of the evidence that hold names of patients, or lists of them."""


def pseudonymous(inputs: ReportInputs) -> ReportInputs:
    """The same with every patient, subject and image renamed.

    The numbers follow the names' digests, so that they say nothing about the order of the names.
    """
    frame, gallery, left, prepared = inputs.predictions, inputs.gallery, inputs.split["left_out"], inputs.prepared
    evidence, named = (inputs.evaluation, inputs.split, prepared), [*frame["patient"], *frame["subject"]]
    _renamed(evidence, named.append)  # collects the names
    patients, images = _numbers("Patient", named), _numbers("Cell", frame["image"])
    evaluation, split, prepared = _renamed(evidence, patients.__getitem__)
    whose = f" of patients? {re.escape(', '.join(left['patients']))}(?= left out)"
    sentences = [re.sub(whose, "", sentence) for sentence in left["sentences"]]
    # Warnings that name patients begin so, those that name files say "such as"; the others count. Reasons name files
    # too (a second file of that name, a row without its file), so none is told.
    warnings = [one for one in prepared["warnings"] if not one.startswith("Patients ") and "such as" not in one]
    reasons = [{"reason": "not told: report.pseudonyms", "files": prepared["rejected"]}]
    people = {name: frame[name].map(patients) for name in ("patient", "subject")}
    return replace(
        inputs,
        predictions=frame.assign(**people, image=frame["image"].map(images)),
        evaluation=evaluation,
        split=split | {"left_out": {**split["left_out"], "sentences": sentences}},
        prepared=prepared | {"refusals": [], "reasons": reasons, "warnings": warnings},
        gallery=gallery and replace(gallery, cells=gallery.cells.assign(image=gallery.cells["image"].map(images))),
    )


def _renamed(value: Any, rename: Callable[[str], object], key: str = "") -> Any:
    """Parsed JSON with the names of patients in it renamed; `key` is that under which the value stands."""
    if isinstance(value, dict):
        return {own: _renamed(item, rename, own) for own, item in value.items()}
    if isinstance(value, list | tuple):
        return [_renamed(item, rename, key) for item in value]
    return rename(value) if key in _PEOPLE and isinstance(value, str) else value


def _numbers(word: str, names: Iterable[str]) -> dict[str, str]:
    order = sorted(set(names) - {""}, key=lambda name: hashlib.sha256(name.encode()).digest())
    # Nobody's images stay nobody's: a number would make them one person's.
    return {"": ""} | {name: f"{word} {position}" for position, name in enumerate(order, start=1)}
