"""`python -m job predict`: new cells scored with the ensemble, one row per image."""

import csv
import importlib
from collections import Counter
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

import pandas as pd
from tqdm import tqdm

from job.commands import machine
from job.contracts.paths import EVALUATION
from job.contracts.paths import ensemble as ensemble_folder
from job.data import tree
from job.ensemble import scoring
from job.errors import UserError
from job.files import read_json, replacing, replacing_folder, write_text
from job.inference import appearance

BATCH = 64


def run(
    paths: list[Path],
    model: str | None,
    out: Path,
    onnx: Path | None,
    sha256: str | None,
    threshold: str | None,
    operating_point: str | None,
    min_agreement: float,
    device: str,
    maps: Path | None = None,
) -> str:
    """Write `out`; a sentence with the number of images of each predicted class. The arguments are the command line's.

    What lies in the folders and is not scored is listed beside it, in `NAME.left_out.csv`, with the reason.
    """
    machine.check_file(out)
    beside = out.with_name(f"{out.name.removesuffix('.csv')}.left_out.csv")
    if not 0 <= min_agreement <= 1:
        raise UserError(f"--min-agreement is a share of the members between 0 and 1, such as 0.8, not {min_agreement}")
    files, left_out, reasons = _find(paths)
    if {out.resolve(), beside.resolve()} & {file.resolve() for file in (*files, *([onnx] if onnx else []))}:
        raise UserError(f"--out {out} is one of the files that are read, and would be replaced: name another")
    machine.check_replaced(out, rb"image,call,agreement,.*,problem\n")
    machine.check_replaced(beside, rb"file,reason\n")
    if sha256 and not onnx:
        raise UserError("--sha256 is that of an ONNX file: name the file with --onnx")
    if maps:
        _check_maps(maps, out, onnx)
    # torch is imported only where it is used: it is not needed beside an ONNX file.
    ensemble: scoring.Ensemble = (
        importlib.import_module("job.ensemble.onnx_file").OnnxEnsemble(onnx, sha256, device)
        if onnx
        else importlib.import_module("job.ensemble.networks").TorchEnsemble(model or "efficientnet", device)
    )
    manifest = ensemble.manifest
    if onnx and model not in (None, manifest.method):
        raise UserError(f"--model {model}: {onnx} is an ensemble of {manifest.method}: leave one of the two out")
    rule = _rule(manifest, threshold, operating_point, min_agreement, onnx)
    batch = max(1, min(BATCH, ensemble.most_pixels // manifest.size**2))
    calls: Counter[str] = Counter()
    unlike = 0
    with (
        replacing_folder(maps) if maps else nullcontext() as folder,
        replacing(out) as temporary,
        temporary.open("w", encoding="utf-8", newline="") as handle,
    ):
        draw = importlib.import_module("job.ensemble.maps").drawer(ensemble, folder) if folder else None
        table = csv.writer(handle, lineterminator="\n")
        table.writerow(scoring.columns(manifest, pictures=draw is not None))
        rows = scoring.rows(files, ensemble, rule, batch, draw)
        for row in tqdm(rows, total=len(files), desc="predict", unit="image", disable=None):
            table.writerow(row)
            calls[row[1] or "not readable"] += 1
            unlike += row[-1].startswith(appearance.UNLIKE)
    _list(left_out, beside)
    if set(calls) == {"not readable"}:
        raise UserError(f"none of the {len(files)} files can be read: {out} gives the reason for each")
    counts = ", ".join(f"{count} {call}" for call, count in sorted(calls.items()))
    counts += f"; {unlike} {appearance.UNLIKE}" if unlike else ""
    synthetic = "; the networks learned from synthetic cells" if manifest.synthetic else ""
    if rule.threshold:
        kind = "calibrated" if operating_point else "mean"
        counts += f"; {rule.threshold[0]} from a {kind} probability of {rule.threshold[1]:.3g} on"
    missing = f"; {len(left_out)} left out ({reasons}), listed in {beside}" if left_out else ""
    return f"{out}: {len(files)} images, {counts}{missing}{synthetic}; not for clinical use"


def _check_maps(maps: Path, out: Path, onnx: Path | None) -> None:
    """Refuse a folder of maps before the work."""
    if onnx:
        raise UserError("--maps needs gradients of the networks, which an ONNX file does not give: leave out --onnx")
    if maps.is_file() or (maps.is_dir() and any(maps.iterdir())):
        raise UserError(f"--maps {maps}: this is no empty folder, and what is in it stays: name a new one")
    machine.check_folder(maps, "--maps")
    if out.resolve().is_relative_to(maps.resolve()):
        raise UserError(f"--out {out} lies in the folder of --maps, which is put there as a whole: name another place")


def _find(paths: list[Path]) -> tuple[list[Path], list[tree.Refusal], str]:
    """The images, what was left out, and the reasons in words; a UserError where nothing is left."""
    files, left_out = tree.gather(paths)
    reasons = ", ".join(f"{kind['files']} {kind['reason']}" for kind in tree.reasons(left_out))
    if not files:
        why = f" ({reasons})" if reasons else ""
        raise UserError(f"no images, {', '.join(sorted(tree.SUFFIXES))}, in {', '.join(map(str, paths))}{why}")
    return files, left_out, reasons


def _list(left_out: list[tree.Refusal], path: Path) -> None:
    """Write the files that were left out, with the reasons; without any, an earlier call's list goes."""
    path.unlink(missing_ok=True)
    if left_out:
        write_text(path, pd.DataFrame(left_out, columns=["file", "reason"]).to_csv(index=False, lineterminator="\n"))


def _rule(
    manifest: scoring.Manifest, threshold: str | None, point: str | None, min_agreement: float, onnx: Path | None
) -> scoring.Rule:
    """The rule that the command line asks for."""
    if not point:
        limit = _threshold(threshold, manifest.classes) if threshold else None
        return scoring.Rule(limit, min_agreement=min_agreement)
    # A file brings its own: the results at hand may be those of other networks of the method.
    points = manifest.points if onnx else operating_points(manifest.method)
    if point not in points:
        known = f"it has {', '.join(points) or 'none'}"
        raise UserError(
            f"--operating-point {point} is not in {onnx or EVALUATION} ({known}); use --threshold CLASS=PROBABILITY"
        )
    label, probability, temperature, reason = points[point]
    if probability is None:
        raise UserError(f"--operating-point {point}: {reason}; use --threshold CLASS=PROBABILITY")
    return scoring.Rule((label, probability), temperature, min_agreement)


def _threshold(text: str, classes: Sequence[str]) -> tuple[str, float]:
    name, _, value = text.rpartition("=")
    try:
        number = float(value)
    except ValueError:
        number = -1.0
    if not name or not 0 <= number <= 1:
        raise UserError(f"--threshold is CLASS=PROBABILITY, such as ALL=0.3, not {text!r}")
    if name not in classes:
        raise UserError(f"--threshold: {name!r} is none of the classes {', '.join(classes)}")
    return name, number


def operating_points(method: str) -> scoring.Points:
    """The operating points of a method, as `evaluate` found them.

    The threshold is one of calibrated probabilities: the mean of the members' logits, divided by the temperature (Guo
    et al. 2017).

    Raises:
        UserError: the evaluation is of another ensemble: one with another temperature.
    """
    evaluation = read_json(EVALUATION)
    temperatures = {entry["method"]: entry["temperature"] for entry in evaluation.get("calibration", [])}
    ensemble = ensemble_folder(method) / "ensemble.json"
    if temperatures.get(method) not in {None, read_json(ensemble)["temperature"]}:
        raise UserError(f"{EVALUATION} is of other networks than {ensemble}: run `dvc repro`, which evaluates anew")
    return {
        point["name"]: (evaluation["positive"], point["threshold"], temperatures[method], point["reason"])
        for entry in evaluation.get("operating_points", [])
        for point in entry["points"]
        if entry["method"] == method
    }
