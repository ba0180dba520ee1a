"""Command `score`: all evidence about anybody's predictions, from one CSV file."""

from pathlib import Path

import pandas as pd

from job import files, params
from job.commands import machine
from job.errors import UserError
from job.evaluation import assembly, external
from job.evaluation.blocks import predictions_table
from job.reporting import site
from job.reporting.inputs import ReportInputs

SCORES = "scores.html"


def run(file: Path, out: Path, *, site_too: bool, synthetic: bool, positive: str | None = None) -> str:
    """Write evaluation.json, predictions.csv and differences.csv into `out`, and pages into its site/ where asked.

    Raises:
        UserError: the file is missing or wrong; `external.read` says what is checked. Or there is no place for the
            results, something there would be lost, or no templates for the pages. Nothing is written then.
    """
    settings = params.load()
    machine.check_folder(out)
    if file.resolve() in {(out / name).resolve() for name in ("predictions.csv", "differences.csv")}:
        raise UserError(f"--out {out} holds {file.name}, which would be replaced: name another folder")
    pages_folder = out / "site"
    if site_too and pages_folder.is_dir() and any(pages_folder.iterdir()) and not (pages_folder / SCORES).is_file():
        raise UserError(f"{pages_folder} holds other files than this command's pages: name another folder with --out")
    if site_too and not site.TEMPLATES.is_dir():
        raise UserError(f"--site needs {site.TEMPLATES}/, which is not here: run from the root of the repository")
    # The file may be this pipeline's own or an earlier result of this command, which knows whether cells were drawn.
    beside = file.parent / "evaluation.json"
    synthetic = synthetic or (beside.is_file() and bool(files.read_json(beside).get("synthetic")))
    blocks, fitted, warnings = external.read(file, synthetic=synthetic, positive=positive)
    first, *others = [block.model for block in blocks if block.role == "test"]
    evidence, differences = assembly.assess(blocks, fitted, [(model, first) for model in others], settings.evaluation)
    evidence["evidence"]["warnings"] += warnings
    evaluation = {**evidence, "methods": [], "folds": []}
    table = predictions_table(blocks)
    files.write_text(out / "predictions.csv", table.to_csv(index=False, lineterminator="\n"))
    files.write_text(out / "differences.csv", differences.to_csv(index=False, lineterminator="\n", float_format="%.6g"))
    files.write_json(out / "evaluation.json", evaluation)
    said = "".join(f"warning: {warning}\n" for warning in evidence["evidence"]["warnings"])
    counted = f"; positive class {evidence['positive']}" if evidence["positive"] else ""
    sentence = f"{said}sets of predictions scored: {len(blocks)}{counted}; see {out / 'evaluation.json'}"
    if site_too:
        inputs = ReportInputs(settings, evaluation, table, pd.DataFrame(), {}, {}, differences)
        with files.replacing_folder(pages_folder) as folder:
            pages = site.render(inputs, folder, makers=site.SCORED)
        sentence += f"\nThe pages are ready: {pages_folder / pages[0]}"
    return sentence
