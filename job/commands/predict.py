"""`python -m job predict`: new cells scored with the ensemble, one row per image."""

from __future__ import annotations

import csv
import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tqdm import tqdm

from job.commands import outputs, scoring
from job.errors import UserError
from job.files import read_json, replacing, replacing_folder

EVALUATION = Path("results/evaluation.json")
BATCH = 64


def run(
    paths: list[Path], model: str, out: Path, onnx: Path | None, threshold: str | None, operating_point: str | None,
    min_agreement: float, device: str, maps: Path | None = None,
) -> str:  # fmt: skip
    """Write `out`; a sentence with what was called.

    Args:
        paths: image files, and folders of them.
        model: method whose ensemble judges.
        out: the table.
        onnx: a file of `python -m job export` to use in place of the networks in runs/.
        threshold: `CLASS=PROBABILITY`, or None for the majority vote.
        operating_point: name of a threshold that `evaluate` chose on validation images, in place of `threshold`.
        min_agreement: share of members that must vote alike for a call.
        device: `auto`, `cpu` or `cuda`.
        maps: a new folder for a picture of every image under its activation map, or None.

    Raises:
        UserError: no image, no ensemble, a threshold or an agreement that says nothing, no place for the table, or a
            folder of maps that cannot be made.
    """
    outputs.check_file(out)
    if not 0 <= min_agreement <= 1:
        raise UserError(f"--min-agreement is a share of the members between 0 and 1, such as 0.8, not {min_agreement}")
    files = scoring.find(paths)
    _check_maps(maps, onnx)
    # torch is imported only where it is used: it is not needed beside an ONNX file.
    ensemble: scoring.Ensemble = (
        importlib.import_module("job.commands.onnx_file").OnnxEnsemble(onnx)
        if onnx
        else importlib.import_module("job.commands.ensembles").TorchEnsemble(model, device)
    )
    rule = scoring.Rule(_threshold(threshold), min_agreement=min_agreement)
    if operating_point:
        chosen, temperature = operating_point_of(ensemble.facts.method, operating_point)
        rule = scoring.Rule(chosen, temperature, min_agreement)
    rule.check(ensemble.facts.classes)
    batch = max(1, min(BATCH, ensemble.most_pixels // ensemble.facts.size**2))
    calls: dict[str, int] = {}
    with (
        _drawing(ensemble, maps) as draw,
        replacing(out) as temporary,
        temporary.open("w", encoding="utf-8", newline="") as handle,
    ):
        table = csv.writer(handle, lineterminator="\n")
        table.writerow(scoring.columns(ensemble.facts, pictures=draw is not None))
        scored = scoring.rows(files, ensemble, rule, batch, draw)
        for row in tqdm(scored, total=len(files), desc="predict", unit="image", disable=None):
            table.writerow(row)
            call = row[1] or "not readable"
            calls[call] = calls.get(call, 0) + 1
    counts = ", ".join(f"{count} {call}" for call, count in sorted(calls.items()))
    learned = "; the networks learned from synthetic cells" if ensemble.facts.synthetic else ""
    return f"{out}: {len(files)} images, {counts}{learned}; not for clinical use"


def _check_maps(folder: Path | None, onnx: Path | None) -> None:
    if folder and onnx:
        raise UserError("--maps needs gradients of the networks, which an ONNX file does not give: leave out --onnx")
    if folder and (folder.is_file() or (folder.is_dir() and any(folder.iterdir()))):
        raise UserError(f"--maps {folder}: this is no empty folder, and what is in it stays: name a new one")


@contextmanager
def _drawing(ensemble: scoring.Ensemble, folder: Path | None) -> Iterator[scoring.Draw | None]:
    """What draws the maps; the folder is there when every image has its own."""
    if folder is None:
        yield None
        return
    with replacing_folder(folder) as temporary:
        yield importlib.import_module("job.commands.maps").Maps(ensemble, temporary)


def _threshold(text: str | None) -> tuple[str, float] | None:
    if text is None:
        return None
    name, _, value = text.rpartition("=")
    try:
        number = float(value)
    except ValueError:
        number = -1.0
    if not name or not 0 <= number <= 1:
        raise UserError(f"--threshold is CLASS=PROBABILITY, such as ALL=0.3, not {text!r}")
    return name, number


def operating_point_of(method: str, name: str, path: Path = EVALUATION) -> tuple[tuple[str, float], float]:
    """The positive class, its threshold and the temperature of an operating point of `evaluate`.

    The threshold is one of calibrated probabilities: the mean of the members' logits, divided by the temperature (Guo
    et al. 2017).

    Raises:
        UserError: the results name no such point.
    """
    evaluation = read_json(path)
    entries = {kind: _of(evaluation.get(kind, []), "method", method) for kind in ("operating_points", "calibration")}
    point = _of(entries["operating_points"].get("points", []), "name", name)
    threshold = point.get("threshold")
    if threshold is None:
        reason = point.get("reason") or f"{path} names no such point for {method}"
        raise UserError(f"--operating-point {name}: {reason}; use --threshold CLASS=PROBABILITY")
    return (evaluation["positive"], threshold), entries["calibration"]["temperature"]


def _of(entries: list[dict[str, Any]], key: str, value: str) -> dict[str, Any]:
    return next((entry for entry in entries if entry[key] == value), {})
