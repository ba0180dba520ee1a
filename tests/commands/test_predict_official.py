"""Original cells of C-NMC: what `predict` and the exported file say of them is what `evaluate` was given."""

import pandas as pd
import pytest

from tests.data.test_official import SHARED
from tests.pipeline import repository

SAMPLE = SHARED / "C-NMC_Leukemia"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not SAMPLE.is_dir(), reason="the sample of C-NMC is not on this machine (set CNMC_FACTS)"),
]


@pytest.fixture(scope="module")
def repo(tmp_path_factory):
    folder = repository.create(tmp_path_factory.mktemp("official"))
    sections = {"methods": ["efficientnet"], "data": {"root": str(SAMPLE), "pixels": 96}, "train": {"epochs": 3}}
    repository.change(folder, sections)
    repository.run(folder, "dvc", "repro", "ensemble")
    repository.run(folder, "python", "-m", "job", "export", "--out", "ensemble.onnx")
    return folder


# A single member of the file may differ by the rounding of both: torch's own is up to 1.2e-4 here (see `export`).
@pytest.mark.parametrize(
    ("arguments", "tolerance", "of_a_member"), [((), 1e-6, 1e-6), (("--onnx", "ensemble.onnx"), 1e-4, 2e-4)]
)
def test_probabilities_are_those_that_were_evaluated(repo, arguments, tolerance, of_a_member):
    repository.run(repo, "python", "-m", "job", "predict", SAMPLE, "--out", "scores.csv", *arguments)
    scores = pd.read_csv(repo / "scores.csv", keep_default_na=False)
    assert len(scores) == 104
    scores["image"] = scores["image"].str.removeprefix(f"{SAMPLE}/")
    pooled = pd.read_csv(repo / "ensembles/efficientnet/predictions.csv")
    mean = pooled[(pooled["rule"] == "mean") & (pooled["role"] == "test")].merge(scores, on="image")
    assert len(mean) >= 8
    assert (mean["p_ALL_x"] - mean["p_ALL_y"]).abs().max() < tolerance
    for fold in (1, 2):
        single = pd.read_csv(repo / f"predictions/efficientnet/fold-{fold}.csv")
        single = single[single["role"].isin(["test", "validation"])].merge(scores, on="image")
        assert (single["p_ALL_x"] - single[f"fold_{fold}_p_ALL"]).abs().max() < of_a_member
        assert single["p_ALL_x"].std() > 0.01
