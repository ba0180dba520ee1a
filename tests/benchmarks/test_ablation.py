"""`make ablation` on a handful of cells: real experiments of DVC in a real clone."""

import dataclasses
import io
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
from ruamel.yaml import YAML
from sklearn.metrics import roc_auc_score

from benchmarks import ablation, ablation_table, experiments
from benchmarks.arms import ARMS, COMMON
from job.errors import UserError
from job.params import Params
from tests import ROOT
from tests.pipeline import repository

COMMON_HERE = {
    "demo.images": 120, "demo.patients": 40, "demo.unlabelled": 4, "data.pixels": 32, "train.epochs": 1,
    "split.test": "fraction", "split.test_share": 0.5, "split.folds": 3,
}  # fmt: skip
NAMES = ("base-half", "base-longer-noise", "published", "published-first", "linear-probe")
SMALL_ARMS = tuple(
    dataclasses.replace(arm, settings={**arm.settings, "noisy_student.iterations": 2, "train.epochs": 1})
    for arm in ARMS if arm.name in NAMES
)  # fmt: skip


def test_every_arm_is_a_valid_set_of_parameters():
    """Typos in the grid would cost a run of an hour."""
    names = [arm.name for arm in ARMS]
    assert len(set(names)) == len(names)
    for arm in ARMS:
        values = YAML(typ="safe").load(ROOT / "params.yaml")
        for key, value in {**COMMON, **arm.settings}.items():
            section, name = key.split(".")
            assert name in values[section], key
            values[section][name] = value
        Params.model_validate(values)
        assert arm.run in ("", *names)


def table(**columns) -> pd.DataFrame:
    row = {
        "arm": "a", "changed": "what", "seeds": 3, "images": 1234, "seconds": 5.4, "test_images": 1000,
        "test_subjects": 9, "balanced_accuracy": 0.81, "auroc": 0.91,
    }  # fmt: skip
    for other in ("base", "control", "teacher"):
        name = f"auroc_less_{other}"
        row |= {
            name: np.nan,
            f"{name}_low": np.nan,
            f"{name}_high": np.nan,
            f"{name}_by_seed": "",
            f"{name}_p_holm": np.nan,
            f"{name}_verdict": "",
        }
    return pd.DataFrame([row | columns])


def test_the_printed_table_marks_what_is_larger_than_noise():
    base = {"auroc_less_base": 0.012, "auroc_less_base_low": 0.004, "auroc_less_base_high": 0.02}
    base["auroc_less_base_by_seed"] = "0.010000 0.014000"
    line = ablation_table.markdown(table(**base, auroc_less_base_verdict="better")).splitlines()[-1]
    assert line == "| what | 0.810 | 0.910 | **+1.2 [+0.4, +2.0] (+1.0 … +1.4) better** | – | – | 1,234 | 5 |"
    base["auroc_less_base_low"] = -0.001
    text = ablation_table.markdown(table(**base, auroc_less_base_verdict="not told apart"))
    assert text.splitlines()[0].startswith("3 seeds, 1,000 test images of 9 subjects")
    assert "| +1.2 [-0.1, +2.0] (+1.0 … +1.4) |" in text


def test_uncommitted_code_is_refused(tmp_path, monkeypatch):
    repository.create(tmp_path)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "job/seeds.py").write_text("changed")
    with experiments.opened(ablation.FOLDER) as clone, pytest.raises(UserError, match="commit the changes first"):
        clone.prepare(COMMON_HERE)


def run_small() -> pd.DataFrame:
    """What `main` does, with the small arms."""
    with experiments.opened(ablation.FOLDER) as clone:
        return ablation.run(clone, SMALL_ARMS, (1, 2), COMMON_HERE, 2)


@pytest.fixture(scope="module")
def ended(tmp_path_factory):
    """A clone in which all experiments ran, after the command was killed in the middle of them."""
    repo = repository.create(tmp_path_factory.mktemp("ablation"))
    command = [sys.executable, "-c", "from tests.benchmarks import test_ablation as test; test.run_small()"]
    with subprocess.Popen(command, cwd=repo, env=repository.ENVIRONMENT, start_new_session=True) as process:
        seconds = repo / ".work/ablation/seconds"
        while process.poll() is None and not any(seconds.glob("*.json")):
            time.sleep(0.2)
        os.killpg(process.pid, signal.SIGKILL)
    repository.run(repo, *command)
    return repo


@pytest.mark.slow
def test_killed_and_started_again_it_ends_with_every_experiment(ended, monkeypatch):
    monkeypatch.chdir(ended)

    def refuse(_clone: experiments.Clone, name: str, _settings: object) -> float:
        raise AssertionError(name)

    monkeypatch.setattr(experiments.Clone, "run", refuse)
    table = run_small()
    assert table["arm"].tolist() == list(NAMES)
    with experiments.opened(ablation.FOLDER) as clone:
        names = clone.finished()
        text = clone.read("published-2", "results/predictions.csv")
        with pytest.raises(UserError, match=r"ran with train\.seed=2, and 3 is asked"):
            clone.run_all({"published-2": {"methods": "[noisy_student]", "train.seed": 3}}, 1)
    assert names == {f"{name}-{seed}" for name in NAMES if name != "published-first" for seed in (1, 2)}
    predictions = pd.read_csv(io.StringIO(text))
    by_hand = {}
    for iteration in (0, 1):
        rows = predictions[(predictions["model"] == f"noisy_student/fold-2/iteration-{iteration}")]
        rows = rows[rows["role"] == "test"]
        by_hand[iteration] = np.mean([
            roc_auc_score(pair["label"] == "ALL", pair["p_ALL"])
            for _, ill in rows[rows["label"] == "ALL"].groupby("subject")
            for _, other in rows[rows["label"] == "HEM"].groupby("subject")
            for pair in [pd.concat([ill, other])]
        ])  # fmt: skip
    row = table.set_index("arm").loc["published-first"]
    by_seed = [float(one) for one in row["auroc_less_teacher_by_seed"].split()]
    assert by_seed[1] == pytest.approx(by_hand[1] - by_hand[0], abs=1e-6)
    assert table.set_index("arm").loc["linear-probe", "auroc_less_teacher_by_seed"] == ""
    assert (table["seconds"].notna() == (table["arm"] != "published-first")).all()
    student, half = table.set_index("arm")["images"][["published-first", "base-half"]]
    assert student > half
