"""The evidence about a set of models, in the form in which results/evaluation.json holds it.

Keys beside those of the stage `evaluate` (names, classes, tables 1 to 3, published figures):

- `models`: `model, method, kind, rule, fold, iteration, role, images, subjects, ties, confusion`; `metrics` by name,
  None where `undefined` gives the reason; `intervals` by name (`low, high` are printed; `percentile, bca` of the
  bootstrap), or the reason in `no_interval`. Kinds: fold, iteration (no intervals), ensemble, out_of_fold, baseline.
- `self_training`: per method, fold and iteration what `self_training.trace` returns of its pseudo-labels; the teachers
  and students themselves are `models` of kind iteration, on test, validation and masked images.
- `evidence`: how intervals were made, and `warnings` that belong beside every figure.
- `image_level`: one model's intervals over subjects beside the mistaken ones over images.
- `patients`: per ensemble `subjects` (worst first), the spread of their `accuracy`, the blast-percentage `rule` and
  `auroc`, both of persons.
- `calibration`: per method `temperature`; for `validation` and `test` `before` and `after` it `metrics, reliability`.
- `operating_points`: per method `points` (`threshold, validation, test, intervals, at_prevalences`), `decision_curve`.
- `abstention`: per method risk-coverage by `confidence` and by `agreement`, and the demand `chosen` on validation.
"""

from dataclasses import dataclass
from typing import Any

import pandas as pd

from job.contracts.dataset import Dataset
from job.evaluation import decisions, evidence, patients
from job.evaluation.intervals import Replicates
from job.evaluation.scored import Block, model_entry
from job.params import Evaluation

NO_PATIENTS = (
    "The patients are not known, so every image counts as a subject of its own. Cells of one person are alike: the "
    "intervals are too narrow, by a factor that cannot be told."
)


@dataclass(frozen=True)
class Fitted:
    """A method with what was fitted on its validation images.

    Attributes:
        name: of the method.
        temperature: fitted on `validation`.
        validation: each image judged by a model that did not train on it.
        mean: on test images, as it is.
        calibrated: on test images, at the temperature.
        majority: on test images; None where there are no voters.
    """

    name: str
    temperature: float
    validation: Block
    mean: Block
    calibrated: Block
    majority: Block | None = None


@dataclass(frozen=True)
class Evidence:
    """What follows from predictions and truth.

    Attributes:
        models: one entry per model and role, with figures and intervals.
        differences: what `evidence.differences` returns.
        sections: further keys of results/evaluation.json.
    """

    models: list[dict[str, Any]]
    differences: pd.DataFrame
    sections: dict[str, Any]


def assess(
    blocks: list[Block], fitted: list[Fitted], truth: pd.DataFrame, dataset: Dataset, settings: Evaluation
) -> Evidence:
    """All evidence about the models of `blocks`.

    Args:
        blocks: predictions; those of test images hold the same ones.
        fitted: what calibration, operating points and abstention are told of.
        truth: what `scored.read_truth` returned.
        dataset: the classes.
        settings: section `evaluation` of the parameters.
    """
    found = evidence.replicate(blocks, truth, dataset, settings)
    models = []
    for block in blocks:
        entry = model_entry(block, truth, dataset)
        replicates = found.get((block.model, block.role))
        entry["intervals"], entry["no_interval"] = (
            (None, {}) if replicates is None else evidence.interval_entries(replicates, entry["undefined"], dataset)
        )
        models.append(entry)
    return Evidence(models, evidence.differences(found), {
        "evidence": {
            "interval": "95 %, jackknife over subjects with Student's t",
            "resamples": settings.resamples,
            "blast_share": settings.blast_share,
            "warnings": [] if dataset.patients_known else [NO_PATIENTS],
        },
        "image_level": _image_level(blocks, found, truth, dataset),
        "patients": [
            patients.assess(block, truth, dataset, settings.blast_share)
            for block in blocks
            if dataset.patients_known and (block.kind in {"ensemble", "out_of_fold"} or block.model == "baseline/area")
        ],
    } | _decisions(fitted, truth, dataset, settings))  # fmt: skip


def _image_level(
    blocks: list[Block],
    found: dict[tuple[str, str], Replicates],
    truth: pd.DataFrame,
    dataset: Dataset,
) -> dict[str, Any] | None:
    """Shown of one model only, the first ensemble, to say how wrong it is; None where subjects are images anyway."""
    shown = next((block for block in blocks if block.kind == "ensemble" and block.role == "test"), None)
    if shown is None or not dataset.patients_known:
        return None
    return evidence.if_images_were_independent(shown, found[shown.model, "test"], truth, dataset)


def _decisions(
    fitted: list[Fitted], truth: pd.DataFrame, dataset: Dataset, settings: Evaluation
) -> dict[str, list[dict[str, Any]]]:
    sections: dict[str, list[dict[str, Any]]] = {"calibration": [], "operating_points": [], "abstention": []}
    for own in fitted:
        sections["calibration"].append(
            decisions.calibrate(own.name, own.validation, own.mean, own.calibrated, own.temperature, truth, dataset)
        )
        sections["abstention"].append(
            decisions.abstain(own.name, own.validation, own.majority, own.calibrated, own.temperature, truth, settings)
        )
        if len(dataset.reported) == 1:
            sections["operating_points"].append(
                decisions.operating_points(
                    own.name, own.validation, own.calibrated, own.temperature, truth, dataset, settings
                )
            )
    return sections
