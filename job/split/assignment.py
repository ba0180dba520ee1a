"""Who is held out for the test, which fold validates which image, and whose labels self-training may see."""

from typing import Any

import numpy as np
import pandas as pd
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

from job.contracts.split import COLUMNS
from job.data.subjects import natural
from job.data.tree import HELD_OUT
from job.errors import UserError
from job.params import Split
from job.seeds import derive, generator
from job.split import holdout


def split(index: pd.DataFrame, settings: Split) -> tuple[pd.DataFrame, dict[str, Any]]:
    """The split of an index, one row per image, and the counts and proofs that go with it.

    The index has the columns `row, image, label, patient, subject, origin, cell`; an unknown label is empty.
    A UserError says why no such split exists for this data.
    """
    held_out, left_out, target = holdout.test_set(index, settings)
    choices = [index["label"] == "", left_out, index["subject"].isin(held_out)]
    table = index.assign(role=np.select(choices, ["unlabelled", "left_out", "test"], default="train"))
    training = table[table["role"] == "train"]
    _check_classes(table, training, settings)
    table["fold"] = _folds(training, settings).reindex(table.index)
    table["half"] = _halves(training.assign(fold=table["fold"]), settings).reindex(table.index, fill_value="")
    table["pool"] = _pool(table, settings).astype(int)
    table["fold"] = table["fold"].astype("Int64")
    # The label travels with training rows only; the names of test images say their class, but no network sees a name.
    label = table["label"].where(table["role"] == "train", "")
    return table.assign(label=label)[list(COLUMNS)], _proof(table, target, settings)


def truth(index: pd.DataFrame) -> pd.DataFrame:
    """Every label: `image`, `patient`, `subject`, `label`. Read by `evaluate` alone."""
    return index.loc[index["label"] != "", ["image", "patient", "subject", "label"]]


def _check_classes(table: pd.DataFrame, training: pd.DataFrame, settings: Split) -> None:
    for role in ("train", "test"):
        if missing := sorted(set(table["label"]) - {""} - set(table.loc[table["role"] == role, "label"])):
            raise UserError(f"class {missing[0]} has no {role} images with this split: choose another split.test")
    for label, count in training.groupby("label")["subject"].nunique().items():
        if count < settings.folds:
            raise UserError(
                f"class {label} has {count} subjects left for training, fewer than split.folds={settings.folds}: "
                f"lower split.folds (and the list folds) to at most {count}, or add patients"
            )


def _folds(training: pd.DataFrame, settings: Split) -> pd.Series:
    """Validation fold of every training image, from 1. Copies of an image validate together."""
    seed = derive(settings.seed, "split", "folds") % 2**32
    kind, groups = (
        (StratifiedKFold, None) if settings.fold_by == "image" else (StratifiedGroupKFold, training["subject"])
    )
    folds = kind(settings.folds, shuffle=True, random_state=seed).split(training, training["label"], groups)
    result = pd.Series(0, index=training.index)
    for number, (_, validation) in enumerate(folds, start=1):
        result.iloc[validation] = number
    return _with_first_copy(result, training)


def _halves(training: pd.DataFrame, settings: Split) -> pd.Series:
    """`labelled` or `masked` for every training image, stratified by fold and class. Copies are masked together."""
    result = pd.Series("masked", index=training.index, dtype="str")
    labelled: set[str] = set()  # subjects, with folds by subject: one may have cells of several classes
    for key, group in training.groupby(["fold", "label"], sort=True):
        rng = generator(settings.seed, "split", "half", *map(str, key))
        if settings.fold_by == "image":
            count = max(1, int(np.floor(settings.labelled_share * len(group) + 0.5)))
            result[rng.permutation(group.index)[:count]] = "labelled"
        else:
            labelled |= _whole_subjects(group, labelled, settings.labelled_share, rng)
    result[training["subject"].isin(labelled)] = "labelled"
    return _with_first_copy(result, training)


def _with_first_copy(decided: pd.Series, training: pd.DataFrame) -> pd.Series:
    """All copies of an image go where the first one goes, so that none is trained on of one that validates."""
    return decided.groupby(training["cell"]).transform("first")


def _whole_subjects(group: pd.DataFrame, labelled: set[str], share: float, rng: np.random.Generator) -> set[str]:
    """Further subjects, drawn as long as each brings the number of labelled images nearer to the share."""
    sizes = group.groupby("subject").size()
    target = share * len(group)
    names: set[str] = set()
    count = int(group["subject"].isin(labelled).sum())
    for name in rng.permutation(sorted(set(sizes.index) - labelled, key=natural)):
        if abs(count + sizes[name] - target) < abs(count - target):
            names.add(str(name))
            count += sizes[name]
    return names


def _pool(table: pd.DataFrame, settings: Split) -> pd.Series:
    """Images that self-training may learn from without their labels (in folds that they do not validate).

    Of images that nobody labelled, those stay out that would carry a held-out subject, or a copy of an image that
    validates, into training: no label is needed to leak.
    """
    nobody = table["role"] == "unlabelled"
    kept_out = set(table.loc[table["role"] == "test", "subject"])
    if settings.fold_by == "subject":
        kept_out |= set(table.loc[table["role"] == "train", "subject"])
    copied = set(table.loc[~nobody, "cell"])
    pool = nobody & ~table["subject"].isin(kept_out) & ~table["cell"].isin(copied)
    if settings.unlabelled != "masked_half" and not pool.any():
        raise UserError(
            f"split.unlabelled={settings.unlabelled}: the data has no unlabelled images that share nothing with "
            "labelled ones (in C-NMC they are testing_data/); use masked_half"
        )
    masked = table["half"] == "masked"
    return {"masked_half": masked, "pool": pool, "both": masked | pool}[settings.unlabelled]


def _proof(table: pd.DataFrame, target: dict[str, Any], settings: Split) -> dict[str, Any]:
    train, test = (table[table["role"] == role] for role in ("train", "test"))
    shared = set(train["subject"]) & set(test["subject"])
    assert not shared, f"subjects on both sides of the split: {sorted(shared)}"
    folds = []
    for number in range(1, settings.folds + 1):
        validation, rest = train[train["fold"] == number], train[train["fold"] != number]
        folds.append({
            "fold": number,
            "train": len(rest),
            "labelled": int((rest["half"] == "labelled").sum()),
            "masked": int((rest["half"] == "masked").sum()),
            "validation": len(validation),
            "validation_images_with_training_subject": int(validation["subject"].isin(rest["subject"]).sum()),
        })  # fmt: skip
    return {
        "test": settings.test,
        "fold_by": settings.fold_by,
        "target": target,
        "left_out": _left_out(table[table["role"] == "left_out"], settings),
        "folds": folds,
        "disjoint": {
            "subjects_in_train_and_test": len(shared),
            "patients_in_train_and_test": len((set(train["patient"]) & set(test["patient"])) - {""}),
            "cells_in_train_and_test": len(set(train["cell"]) & set(test["cell"])),
            "copies_in_several_folds": int(train.groupby("cell")["fold"].nunique().gt(1).sum()),
        },
        "unlabelled": {
            "of": settings.unlabelled,
            "masked": int(train["pool"].sum()),
            "pool": int(table.loc[table["role"] == "unlabelled", "pool"].sum()),
        },
        "patients": _patients(table, settings.folds),
    }


def _left_out(images: pd.DataFrame, settings: Split) -> dict[str, Any]:
    """How many labelled images, and whose, are neither trained on nor tested, with the sentence that says why."""
    own_test = images.loc[images["origin"].isin(HELD_OUT), "subject"]
    unseen = images["subject"].isin(own_test) & (settings.test != "official")
    linked = images[~unseen]
    part, other = ("training", "test") if settings.linked == "drop_training" else ("test", "training")
    patients = sorted(set(linked["patient"]) - {""}, key=natural)
    whose = f" of {'patients' if len(patients) > 1 else 'patient'} {', '.join(patients)}" if patients else ""
    sentences = []
    if len(linked):
        sentences.append(
            f"{len(linked)} {part} images{whose} left out: they have, or share, pictures in the {other} part"
        )
    if unseen.any():
        sentences.append(f"{unseen.sum()} images of everybody in the data's own test part left out: they stay unseen")
    return {"linked": len(linked), "patients": patients, "sentences": sentences}


def _patients(table: pd.DataFrame, folds: int) -> list[dict[str, Any]]:
    """Labelled images of every patient and class, in all and in each validation fold; empty without patients."""
    labelled = table[(table["label"] != "") & (table["patient"] != "")]
    rows = []
    for (patient, label, role), group in labelled.groupby(["patient", "label", "role"]):
        counts = group["fold"].value_counts()
        rows.append({
            "patient": str(patient), "subject": group["subject"].iloc[0], "label": str(label),
            "role": str(role), "images": len(group),
            "folds": [int(counts.get(number, 0)) for number in range(1, folds + 1)],
        })  # fmt: skip
    return sorted(rows, key=lambda row: (row["label"], natural(row["patient"])))
