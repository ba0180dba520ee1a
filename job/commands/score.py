"""Command `score`: all evidence about anybody's predictions, from one CSV file."""

from pathlib import Path
from typing import Any

import pandas as pd

from job import files, params
from job.commands import machine
from job.errors import UserError
from job.evaluation import assembly, external, metrics
from job.evaluation.blocks import predictions_table
from job.reporting import site
from job.reporting.inputs import ReportInputs
from job.reporting.pages import scores

_WRITTEN = {
    "predictions.csv": rb"model,method,kind,",
    "differences.csv": rb"model,other,metric,",
    "evaluation.json": rb'{\s+"name":',
}
"""What is written into the folder, and how it begins."""


def run(
    file: Path, out: Path, *, site_too: bool, synthetic: bool, title: str | None = None, positive: str | None = None
) -> str:
    """Write evaluation.json, predictions.csv and differences.csv into `out`, and pages into its site/ where asked.

    The headline of each model is returned. A UserError says that the file is wrong (see `external.read`), that there is
    no place for the results, that something would be lost there, or that templates are missing: nothing is written.
    """
    settings = params.load()
    machine.check_folder(out)
    if file.resolve() in {(out / name).resolve() for name in _WRITTEN}:
        raise UserError(f"--out {out} holds {file.name}, which would be replaced: name another folder")
    for name, beginning in _WRITTEN.items():
        machine.check_replaced(out / name, beginning)
    pages_folder = out / "site"
    if site_too:
        machine.check_folder(pages_folder, "--site")
    ours = _facts(pages_folder / site.FRAME).get("methods") == []
    if site_too and pages_folder.is_dir() and any(pages_folder.iterdir()) and not ours:
        raise UserError(f"{pages_folder} holds other files than this command's pages: name another folder with --out")
    if site_too and not site.TEMPLATES.is_dir():
        raise UserError(f"--site needs {site.TEMPLATES}/, which is not here: run from the root of the repository")
    # The file may be this pipeline's own or an earlier result of this command, which knows whether cells were drawn.
    synthetic = synthetic or bool(_facts(file.parent / "evaluation.json").get("synthetic"))
    blocks, fitted, warnings = external.read(file, synthetic=synthetic, positive=positive)
    dataset = blocks[0].cells.dataset
    first, *others = [block.model for block in blocks if block.role == "test"]
    evidence, differences = assembly.assess(blocks, fitted, [(model, first) for model in others], settings.evaluation)
    evidence["evidence"]["warnings"] += warnings
    tested = [block for block in blocks if block.role == "test"]
    reliability = [
        {"method": block.model, "when": "", "label": dataset.classes[c], **part}
        for block in tested
        for c in dataset.reported
        for part in metrics.reliability(block.probabilities[:, c], block.cells.truth == c)
    ]
    evaluation = {**evidence, "methods": [], "folds": [], "reliability": reliability}
    table = predictions_table(blocks)
    files.write_text(out / "predictions.csv", table.to_csv(index=False, lineterminator="\n"))
    files.write_text(out / "differences.csv", differences.to_csv(index=False, lineterminator="\n", float_format="%.6g"))
    files.write_json(out / "evaluation.json", evaluation)
    said = "".join(f"warning: {warning}\n" for warning in evidence["evidence"]["warnings"])
    counted = f"; positive class {evidence['positive']}" if evidence["positive"] else ""
    unit = "patient" if dataset.patients_known else "image: the patients are not known"
    headlines = [scores.headline(model, unit) for model in evaluation["models"] if model["role"] == "test"]
    scored = f"sets of predictions scored: {len(blocks)}{counted}; see {out / 'evaluation.json'}"
    sentence = said + "\n".join([*headlines, scored])
    if site_too:
        report = settings.report.model_copy(update={"title": title or file.stem})
        shown = settings.model_copy(update={"report": report})
        prepared = {"patients_known": dataset.patients_known}
        inputs = ReportInputs(shown, evaluation, table, pd.DataFrame(), {}, prepared, differences)
        with files.replacing_folder(pages_folder) as folder:
            pages = site.render(inputs, folder, makers=site.SCORED)
        sentence += f"\nThe pages are ready: {pages_folder / pages[0]}"
    elif ours:
        sentence += f"\nThe pages in {pages_folder} are of an earlier call: --site renews them"
    return sentence


def _facts(path: Path) -> dict[str, Any]:
    """What a JSON file beside the input or the output says; nothing where it is missing, or somebody else's."""
    try:
        facts = files.read_json(path)
    except UserError:
        return {}
    return facts if isinstance(facts, dict) else {}
