"""The committed result of the demo (`dvc.lock` holds the digests of its inputs): honestly hard, and learned."""

import pytest
from ruamel.yaml import YAML

from job.files import read_json
from tests import ROOT

SUMMARY = ROOT / "results" / "summary.json"


@pytest.fixture(scope="module")
def summary():
    parameters = YAML(typ="safe").load(ROOT / "params.yaml")
    lock = YAML(typ="safe").load(ROOT / "dvc.lock")
    if lock["stages"]["train@efficientnet-1"]["params"]["params.yaml"]["train"] != parameters["train"]:
        pytest.skip("results/summary.json is of other parameters than params.yaml: run `make report`")
    return read_json(SUMMARY)


def test_the_ensemble_beats_cell_size_and_leaves_room_below_perfection(summary):
    network, area = summary["efficientnet"], summary["baseline"]["area"]
    assert area["auroc"] < network["mean"]["auroc"] < 0.97
    assert network["majority"]["balanced_accuracy"] > area["balanced_accuracy"]
