"""The committed result of the demo: made by this code and these parameters, honestly hard, and learned."""

import hashlib
import os

import pytest
from ruamel.yaml import YAML

from job.files import read_json
from tests import ROOT


def stale() -> list[str]:
    """Stages of dvc.lock whose tracked files or parameters are others today.

    `dvc status` answers this only where the outputs are; a clean clone has the lock alone.
    """
    parameters = YAML(typ="safe").load(ROOT / "params.yaml")
    found = []
    for name, stage in YAML(typ="safe").load(ROOT / "dvc.lock")["stages"].items():
        recorded = stage.get("params", {}).get("params.yaml", {})
        same = all(value == _value(parameters, key) for key, value in recorded.items())
        for dependency in stage.get("deps", []):
            path = ROOT / dependency["path"]
            if dependency["path"] == "params.yaml" or (path.suffix == ".py" and path.is_file()):
                same = same and hashlib.md5(path.read_bytes()).hexdigest() == dependency["md5"]
        if not same:
            found.append(name)
    return found


def _value(parameters, key):
    for part in key.split("."):
        parameters = parameters.get(part, {})
    return parameters


@pytest.fixture(scope="module")
def summary():
    if stages := stale():
        # Whoever tries a parameter has not run everything yet; what is submitted has.
        (pytest.fail if os.environ.get("CI") else pytest.skip)(
            f"dvc.lock and results/summary.json are of another state of {', '.join(stages)}: run `make report`"
        )
    return read_json(ROOT / "results" / "summary.json")


def test_the_ensemble_beats_cell_size_and_leaves_room_below_perfection(summary):
    network, area = summary["efficientnet"], summary["baseline"]["area"]
    assert area["auroc"] < network["mean"]["auroc"] < 0.97
    assert network["majority"]["balanced_accuracy"] > area["balanced_accuracy"]
