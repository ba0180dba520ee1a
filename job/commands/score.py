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


def run(file: Path, out: Path, *, site_too: bool, synthetic: bool) -> str:
    """Write evaluation.json, predictions.csv and differences.csv into `out`, and pages into its site/ where asked.

    Raises:
        UserError: the file is missing or wrong; `external.read` says what is checked. Or there is no place for the
            results, or no templates for the pages. Nothing is written then.
    """
    settings = params.load()
    machine.check_folder(out)
    if site_too and not site.TEMPLATES.is_dir():
        raise UserError(f"--site needs {site.TEMPLATES}/, which is not here: run from the root of the repository")
    # The file may be this pipeline's own or an earlier result of this command, which knows whether cells were drawn.
    beside = file.parent / "evaluation.json"
    synthetic = synthetic or (beside.is_file() and bool(files.read_json(beside).get("synthetic")))
    blocks, fitted = external.read(file, synthetic=synthetic)
    first, *others = [block.model for block in blocks if block.role == "test"]
    evidence, differences = assembly.assess(blocks, fitted, [(model, first) for model in others], settings.evaluation)
    evaluation = {**evidence, "methods": [], "folds": []}
    table = predictions_table(blocks)
    files.write_text(out / "predictions.csv", table.to_csv(index=False, lineterminator="\n"))
    files.write_text(out / "differences.csv", differences.to_csv(index=False, lineterminator="\n", float_format="%.6g"))
    files.write_json(out / "evaluation.json", evaluation)
    sentence = f"{len(blocks)} sets of predictions scored: {out / 'evaluation.json'}"
    if site_too:
        inputs = ReportInputs(settings, evaluation, table, pd.DataFrame(), {}, {}, differences)
        with files.replacing_folder(out / "site") as folder:
            pages = site.render(inputs, folder, makers=site.SCORED)
        sentence += f"\nThe pages are ready: {out / 'site' / pages[0]}"
    return sentence
