"""A folder in which stages of the pipeline run without DVC: for a measurement that needs one small ensemble."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from job.errors import UserError

_REPOSITORY = Path(__file__).parents[1]


def train(folder: Path, settings: Mapping[str, Any]) -> None:
    """Run every stage up to `evaluate` with these parameters in a folder, unless it holds the results already.

    Raises:
        UserError: a stage failed.
    """
    if (folder / "results/predictions.csv").is_file():
        return
    yaml = YAML()
    values: Any = yaml.load(_REPOSITORY / "params.yaml")
    for key, value in settings.items():
        *section, name = key.split(".")
        (values[section[0]] if section else values)[name] = value
    folder.mkdir(parents=True, exist_ok=True)
    yaml.dump(values, folder / "params.yaml")
    methods = [["--method", method] for method in values["methods"]]
    folds = [[*method, "--fold", str(fold)] for method in methods for fold in values["folds"]]
    stages = [["prepare"], ["split"], *([stage, *fold] for fold in folds for stage in ("train", "predict"))]
    environment = os.environ | {"PYTHONPATH": str(_REPOSITORY)}
    for stage in [*stages, *(["ensemble", *method] for method in methods), ["evaluate"]]:
        command = [sys.executable, "-m", "job", "stage", *stage]
        if subprocess.run(command, cwd=folder, env=environment, check=False).returncode:
            raise UserError(f"stage {' '.join(stage)} failed in {folder}: see the message above")
