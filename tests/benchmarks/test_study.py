"""The protocol of the study: what is chosen, on what, and what is looked at afterwards."""

import json
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from ruamel.yaml import YAML

from benchmarks import study, study_tables
from job.contracts.dataset import Dataset
from job.params import Params
from tests import ROOT

RNG = np.random.default_rng(0)
SLUGS = ("160-pixels", "ten-epochs", "lite2")


class Experiments:
    """Stands in for the clone: remembers the order and makes up predictions of a stated skill."""

    repository, commit = Path(), "abc"

    def __init__(self, skills):
        self.skills, self.ran = skills, {}

    def run_all(self, wanted, jobs):
        list(self.run_each(wanted, jobs))

    def run_each(self, wanted, jobs):
        for name, settings in wanted.items() if jobs else ():
            self.ran[name] = settings
            yield name

    def finished(self):
        return set(self.ran)

    def read(self, name, path):
        if path in ("results/summary.json", "results/differences.csv"):
            return "{}"
        if path == "results/evaluation.json":
            turn = {"iteration": 1, "images": 4, "correct": 0.5, "share_positive": 0.75, "kept": 1.0,
                    "balance": {"truth": [3, 1]}, "confidence": {"mean": 0.9}}  # fmt: skip
            return json.dumps({"self_training": [turn] if "noisy_student" in self.ran[name]["methods"] else []})
        settings = self.ran[name]
        if path == "data/split.csv":
            images = pd.Series(range(120)).astype(str).radd(f"{settings['split.test']}/")
            half = np.where(np.arange(120) % 6 == 0, "labelled", "masked")
            table = pd.DataFrame({"image": images, "fold": np.arange(120) // 6 % 2 + 1, "role": "train", "half": half})
            return table.to_csv()
        if path == "params.yaml":
            return "train: {batch_size: 3}"
        assert path == "results/predictions.csv"
        skill = next((value for part, value in self.skills.items() if part in name), 0.5)
        methods = str(settings["methods"]).strip("[]").split(", ")
        label = np.repeat(["ALL", "HEM"], 60)
        table = pd.DataFrame({"image": range(120), "subject": np.arange(120) // 6, "label": label, "role": "test"})
        for column in ("image", "subject"):  # every test set has its own
            table[column] = f"{settings['split.test']}/" + table[column].astype(str)
        parts = []
        for method in methods:
            models = {
                f"{method}/fold-1": "fold", f"{method}/majority": "ensemble", f"{method}/mean": "ensemble",
                "baseline/area": "baseline",
            }  # fmt: skip
            for model, kind in models.items():
                p = 1 / (1 + np.exp(-skill * 3 * (label == "ALL") - RNG.normal(0, 1, 120)))
                predicted = np.where(p > 0.5, "ALL", "HEM")
                of = method if kind != "baseline" else None
                parts.append(table.assign(model=model, kind=kind, method=of, p_ALL=p, p_HEM=1 - p, predicted=predicted))
            held_in = parts[-4].assign(role="validation", kind="out_of_fold", model=f"{method}/out_of_fold")
            # Validation would choose another candidate.
            parts.append(held_in.assign(p_ALL=1 - parts[-4]["p_ALL"]))
        return pd.concat(parts).to_csv(index=False)


@pytest.fixture
def clone(monkeypatch, tmp_path):
    monkeypatch.setattr(study, "RESULTS", tmp_path)
    dataset = Dataset("cells", synthetic=True, classes=("HEM", "ALL"), positive="ALL")
    monkeypatch.setattr(study_tables, "read_dataset", lambda _: dataset)
    return Experiments({"balanced-loss": 1.5})


def test_every_experiment_has_valid_parameters():
    """A typo would be found after hours."""
    values = YAML(typ="safe").load(ROOT / "params.yaml")
    settings = [
        study.COMMON,
        study.SHORT,
        study.PUBLISHED,
        *study.CANDIDATES.values(),
        *study.TEST_SETS.values(),
        *study.LARGER.values(),
    ]
    for key, value in [pair for one in [*settings, *study.SELF_TRAINING.values()] for pair in one.items()]:
        *section, name = key.split(".")
        where = values[section[0]] if section else values
        assert name in where, key
        where[name] = YAML(typ="safe").load(value) if isinstance(value, str) else value
        Params.model_validate(values)


def test_settings_are_chosen_on_official_folds_before_a_test_set_is_seen(clone, tmp_path):
    chosen = study.choose(clone, 1)
    assert chosen is study.CANDIDATES["and balanced loss"]
    seen = {settings["split.test"] for settings in clone.ran.values()}
    assert seen == set(study.HELD_OUT)
    choice = pd.read_csv(tmp_path / "choice.csv")
    assert choice["candidate"].tolist() == [*study.CANDIDATES, "size alone"]
    assert choice.loc[5, "auroc"] > choice["auroc"].drop(5).max()
    assert choice.loc[5, "promised"] < 0.5
    assert 0 < choice.loc[5, "less size, low"] < choice.loc[5, "less size"] < choice.loc[5, "less size, high"]


def test_more_of_one_thing_is_compared_with_the_chosen_setting_where_it_was_chosen(clone, tmp_path):
    chosen = study.choose(clone, 1)
    before = set(clone.ran)
    study.larger(clone, chosen, 1)
    new = [settings for name, settings in clone.ran.items() if name not in before]
    assert {settings["split.test"] for settings in new} == set(study.HELD_OUT)
    assert all(settings.items() >= chosen.items() for settings in new)
    table = pd.read_csv(tmp_path / "larger.csv")
    differences = table["less and balanced loss"]
    assert differences.isna().tolist() == [True, *[False] * len(study.LARGER), True]
    assert differences.abs().max() < 0.1, "the stand-in makes up skill by the name of the setting, which is the same"


def test_the_chosen_setting_and_the_published_one_are_scored_on_every_test_set(clone, tmp_path):
    chosen = study.CANDIDATES["and balanced loss"]
    study.systems(clone, chosen, 1)
    for name, settings in clone.ran.items():
        if name.endswith("chosen"):
            assert settings["train.class_weights"] == "balanced"
        if name.endswith("published"):
            assert settings["split.fold_by"] == "image"
    table = pd.read_csv(tmp_path / "systems.csv")
    assert set(table["test set"]) == set(study.TEST_SETS)
    published = table[table["system"].str.startswith("published")]
    assert set(published["test set"]) == set(study.ONCE)
    row = table[table["system"] == "published: noisy student, majority"].iloc[0]
    assert row["AUROC per patient, low"] < row["AUROC per patient"] < row["AUROC per patient, high"]
    # What the networks say of training images, which the stand-in makes bad, has rows of its own.
    held_in = table["system"].str.endswith("out of fold")
    assert table.loc[held_in, "AUROC"].max() < 0.5 < table.loc[~held_in, "AUROC"].min()


def test_self_training_is_compared_with_labelled_images_alone_and_with_its_control(clone, tmp_path):
    study.self_training(clone, study.CANDIDATES["and balanced loss"], 1, 0.1, (1, 2))
    control = [settings for name, settings in clone.ran.items() if name.startswith("few-0.1-labelled-alone-a-")]
    assert {settings["train.augment"] for settings in control} == {"cells", "dihedral"}
    # In fold 2 are 10 labelled and 50 masked images, which in batches of 3 are 4 and 17 steps: a student takes 4 x 17.
    assert {settings["train.epochs"] for settings in control} == {17}
    table = pd.read_csv(tmp_path / "self_training_10_seeds.csv").set_index("arm")
    for number, less in enumerate(study_tables.CONTROLS.values(), start=1):
        assert table[[f"{less}, low", f"{less}, p (Holm)"]].notna().sum().tolist() == [len(table) - number] * 2
    # Of one seed nobody knows what another training would give, and there is no p.
    for share in (0.1, 0.2):
        study.self_training(clone, study.CANDIDATES["and balanced loss"], 1, share, (1,))
        assert not pd.read_csv(tmp_path / f"self_training_{100 * share:.0f}.csv").filter(regex="Holm").columns.size
    turns = pd.read_csv(tmp_path / "self_training_10_trace.csv")
    assert set(turns["arm"]) == {arm for arm, of in study.SELF_TRAINING.items() if of["methods"] == "[noisy_student]"}
    assert turns.loc[0, ["share_positive", "share_all"]].tolist() == [0.75, 0.25]
    assert not {settings["split.test"] for settings in clone.ran.values()} - set(study.HELD_OUT)
    assert {settings["train.seed"] for settings in clone.ran.values()} == {1, 2}


@pytest.mark.parametrize("part", ["larger", "second-seed"])
def test_one_part_alone_takes_the_recorded_choice_and_trains_nothing_else(clone, tmp_path, monkeypatch, part):
    study.choose(clone, 1)
    clone.ran.clear()
    clone.prepare = lambda *_, **__: None
    monkeypatch.setattr(study, "opened", lambda _: nullcontext(clone))
    monkeypatch.setattr("sys.argv", ["study", "--root", "cells", "--only", part])
    assert study.main() == 0
    assert all(settings["train.class_weights"] == "balanced" for settings in clone.ran.values())
    if part == "larger":
        kinds = {name.rpartition("-fold")[0] for name in clone.ran}
        assert kinds == {"choice-and-balanced-loss", *(f"larger-and-balanced-loss-{of}" for of in SLUGS)}
    else:
        assert {settings["train.seed"] for settings in clone.ran.values()} == {2}
        assert (tmp_path / "self_training_10_seed_2.csv").is_file()
        assert not (tmp_path / "self_training_10_seeds.csv").exists(), "the first seed is not there"
