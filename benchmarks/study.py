"""`make study ROOT=DIR`: the real C-NMC. Settings are chosen on its training part, then its test sets are scored once.

Every training is an experiment of DVC in a clone under `.work/study/`, which keeps the code it began with. The command
may be killed anywhere and started again; what is finished is not repeated, and each table is written as soon as its
experiments are there, with the summary of each run on a test set. The order of `main` is the protocol: the candidates
are judged on the three official folds of the training part, each held out in turn, without the preliminary part, and
what comes after takes the winner as it is. Self-training is compared on these folds too, and on no test set. One part
can run alone, on a machine that has not done the rest: it takes the winner of benchmarks/study/choice.csv.

DIR is the folder that holds `training_data/`; nothing of it is copied into the repository but figures.
"""

import argparse
import os
import platform
import sys
import time
from collections.abc import Callable, Mapping
from itertools import chain, product
from pathlib import Path

import pandas as pd

from benchmarks import study_tables as tables
from benchmarks.arms import RECOMMENDED
from benchmarks.experiments import Clone, Settings, opened
from job.errors import UserError

FOLDER = Path(".work/study")
RESULTS = Path(__file__).with_name("study")

COMMON: Settings = {"data.pixels": 96, "data.crop": 320, "split.test": "fold_0", "split.fold_by": "subject"}
"""96 pixels of a crop of 320, because two CPU cores train it; the report has 450 pixels of the whole image."""

HELD_OUT = ("fold_0", "fold_1", "fold_2")
BASE: dict[str, str | int | float] = {
    "methods": "[efficientnet]", "train.batch_norm": "running", "train.learning_rate": 0.001, "train.schedule": "step",
}  # fmt: skip
"""The published loop. It names what the demo's defaults have otherwise."""
RATE: dict[str, str | int | float] = {
    "train.augment": "dihedral", "train.learning_rate": 0.01, "train.schedule": "cosine",
    "train.batch_norm": "recomputed",
}  # fmt: skip
CANDIDATES: dict[str, dict[str, str | int | float]] = {
    "linear probe": {"methods": "[linear_probe]"},
    "linear probe, 8 views": {"methods": "[linear_probe]", "train.augment": "dihedral", "predict.tta": "true"},
    "as published": BASE,
    "flips and turns": BASE | {"train.augment": "dihedral"},
    "and a rate of 0.01, cosine": BASE | RATE,
    "and balanced loss": BASE | RATE | {"train.class_weights": "balanced"},
    "and averaged weights": BASE | RATE | {"train.class_weights": "balanced", "train.ema_decay": 0.99},
    "the same with noise for cells": BASE | RATE | {"train.class_weights": "balanced", "train.augment": "cells"},
}
"""What was tried, in this order and all of it. One network each, four epochs, validated on a fifth of the subjects."""
SHORT: Settings = {"folds": "[1]", "train.epochs": 4}
LARGER: dict[str, Settings] = {
    "160 pixels": {"data.pixels": 160},
    "ten epochs": {"train.epochs": 10},
    "Lite2": {"model.backbone": "efficientnet-lite2"},
}
"""What more computing would bring to the chosen setting, one thing at a time: asked after the test sets were scored,
on the folds on which it was chosen, and it changes no choice."""

LONG: Settings = {"train.epochs": 5}
PUBLISHED: Settings = BASE | LONG | {"methods": "[efficientnet, noisy_student]", "split.fold_by": "image"}
"""The report's four systems: folds by image, their vote, three students after each other, their vote."""
OFFICIAL = "official preliminary part"
TEST_SETS: dict[str, Settings] = {
    OFFICIAL: {"split.test": "official"},
    **{f"Table 1, draw {seed}": {"split.test": "report", "split.seed": seed} for seed in (1, 2, 3)},
}
ONCE = (OFFICIAL, "Table 1, draw 1")
"""Where the published systems are scored too. Their students take three hours of a core per test set."""

SHARES = (0.1, 0.2, 0.5)
"""Of the labels, all on the same patients: folds 0 and 1 held out, each in turn. With fold 2 held out a tenth of the
labels holds no HEM patient where fold 1 validates, as halves have whole patients; the stage `split` refuses that."""
FEWEST = SHARES[0]
"""Where a second seed measures how much another start moves a figure; with the first the final part is a pool too."""
EFFICIENTNET = {"methods": "[efficientnet]", "efficientnet.labels": "half"}
NOISY = {"methods": "[noisy_student]", "noisy_student.augment": "cells"}
SELF_TRAINING: dict[str, dict[str, str | int | float]] = {
    tables.ALONE: EFFICIENTNET,
    tables.STEPS: EFFICIENTNET,  # as long as a student learns, see `self_training`
    tables.NOISE: EFFICIENTNET | {"train.augment": "cells"},
    "recommended form": NOISY | RECOMMENDED,
    "as published": {"methods": "[noisy_student]"},
    "FixMatch": {"methods": "[fixmatch]"},
    "Meta Pseudo Labels": {"methods": "[meta_pseudo_labels]"},
    "recommended form, final part as pool": NOISY | RECOMMENDED | {"split.unlabelled": "both"},
}
"""Each is compared with the labelled images alone, with these under a student's steps, and with its noise too.

After the first seed at one label in ten the control without noise was added, as noise alone was seen to cost where all
labels are known, and the controls' steps, which went by the nominal share, were made equal to a student's.
"""


def main() -> int:
    """Run what is missing, in the order of the protocol, and write the tables that are complete."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.study", description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=Path, required=True, help="folder that holds training_data/ of C-NMC 2019")
    parser.add_argument(
        "--jobs",
        type=int,
        default=len(os.sched_getaffinity(0)),
        help="experiments at a time; 0 runs none and shows what there is",
    )
    parser.add_argument("--only", choices=PARTS, help="this part alone, with the choice of an earlier run")
    parser.add_argument("--code", help="commit whose code the experiments run; today's, or that of the work folder")
    options = parser.parse_args()
    RESULTS.mkdir(exist_ok=True)
    try:
        with opened(FOLDER) as clone:
            clone.prepare(COMMON | {"data.root": str(options.root.resolve())}, pinned=True, code=options.code)
            if chosen := _winner() if options.only else choose(clone, options.jobs):
                for name, part in PARTS.items():
                    if options.only in {None, name}:
                        part(clone, chosen, options.jobs)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def choose(clone: Clone, jobs: int) -> Settings:
    """The candidate with the best AUROC on the held-out official folds; none before all candidates are finished."""
    finished = _held_out(clone, "choice", CANDIDATES, jobs)
    table = tables.choice(clone, finished)
    _write(clone, "choice", table)
    if len(finished) < len(CANDIDATES):
        print(f"{len(finished)} of {len(CANDIDATES)} candidates are finished: nothing is chosen yet")
        return {}
    return _winner()


def _winner() -> Settings:
    """The best of the candidates' table, whose last row is the cell's size."""
    table = pd.read_csv(RESULTS / "choice.csv").iloc[:-1]
    best = str(table.loc[table["auroc"].idxmax(), "candidate"])
    print(f"chosen: {best}")
    return CANDIDATES[best]


def _held_out(clone: Clone, prefix: str, arms: Mapping[str, Settings], jobs: int) -> dict[str, dict[str, str]]:
    """Names of the experiments by arm and held-out official fold: of the arms that are finished on all folds."""
    names = {arm: {fold: f"{prefix}-{_slug(arm)}-{fold}" for fold in HELD_OUT} for arm in arms}
    wanted = {
        name: SHORT | arms[arm] | {"split.test": fold}
        for arm, by_fold in names.items()
        for fold, name in by_fold.items()
    }
    clone.run_all(wanted, jobs)
    return {arm: by_fold for arm, by_fold in names.items() if clone.finished().issuperset(by_fold.values())}


def larger(clone: Clone, chosen: Settings, jobs: int) -> None:
    """The chosen setting with more of one thing, on the folds on which it was chosen."""
    name = next(arm for arm, settings in CANDIDATES.items() if settings == chosen)
    arms = {f"{name}, {what}": chosen | more for what, more in LARGER.items()}
    alone = _held_out(clone, "choice", {name: chosen}, jobs)
    if found := _held_out(clone, "larger", arms, jobs):
        _write(clone, "larger", tables.choice(clone, alone | found, name))


def systems(clone: Clone, chosen: Settings, jobs: int) -> None:
    """The published systems and the chosen setting on the test sets."""
    probe = CANDIDATES["linear probe, 8 views"]
    arms = {"linear probe": probe, "chosen": LONG | chosen | {"predict.tta": "true"}, "published": PUBLISHED}
    # The long ones begin early, so that no core is left waiting for them.
    order = [(OFFICIAL, arm) for arm in arms] + [(where, "published") for where in ONCE if where != OFFICIAL]
    order += [(where, arm) for where in TEST_SETS for arm in arms if where != OFFICIAL and arm != "published"]
    names = {(where, arm): f"{_slug(where)}-{arm.replace(' ', '-')}" for where, arm in order}
    wanted = {names[key]: arms[key[1]] | TEST_SETS[key[0]] for key in order}
    for _ in chain(clone.run_each(wanted, jobs), ["nothing was missing"]):
        done = {key: name for key, name in names.items() if name in clone.finished()}
        _write(clone, "systems", tables.systems(clone, done))
        for name, file in product(done.values(), ("summary.json", "differences.csv")):
            (RESULTS / f"{name}-{file}").write_text(clone.read(name, f"results/{file}"), encoding="utf-8")


def few_labels(clone: Clone, chosen: Settings, jobs: int) -> None:
    """Every share of the labels, once."""
    for share in SHARES:
        self_training(clone, chosen, jobs, share, seeds=(1,))


def second_seed(clone: Clone, chosen: Settings, jobs: int) -> None:
    """The fewest labels once more, by itself and, where the first seed ran too, both together."""
    self_training(clone, chosen, jobs, FEWEST, seeds=(2,))
    self_training(clone, chosen, 0, FEWEST, seeds=(1, 2))


def self_training(clone: Clone, chosen: Settings, jobs: int, share: float, seeds: tuple[int, ...]) -> None:
    """What pseudo-labels bring where this share of the labels is known, on the held-out official folds."""
    # The linear probe, were it chosen, does not say how a network learns.
    learning = {key: value for key, value in (BASE | dict(chosen)).items() if key.startswith("train.")}
    with_pool = share == FEWEST and seeds == (1,)
    arms = {arm: which for arm, which in SELF_TRAINING.items() if with_pool or "split.unlabelled" not in which}
    held_out = HELD_OUT[:2]
    names = {arm: [[f"few-{share}-{_slug(arm)}-{fold}-{seed}" for fold in held_out] for seed in seeds] for arm in arms}
    common = {"split.labelled_share": share} | SHORT | learning
    wanted: dict[str, Settings] = {
        names[arm][row][column]: common | settings | {"split.test": fold, "train.seed": seed}
        for arm, settings in arms.items()
        for row, seed in enumerate(seeds)
        for column, fold in enumerate(held_out)
    }
    alone = list(chain(*names[tables.ALONE]))
    clone.run_all({name: wanted[name] for name in alone}, jobs)
    for name, *controls in zip(alone, chain(*names[tables.STEPS]), chain(*names[tables.NOISE]), strict=True):
        if name in clone.finished():
            epochs = round(SHORT["train.epochs"] * tables.steps_of_a_student(clone, name))
            wanted |= {control: wanted[control] | {"train.epochs": epochs} for control in controls}
    for _ in chain(clone.run_each(wanted, jobs), ["nothing was missing"]):
        done = {arm: runs for arm, runs in names.items() if clone.finished().issuperset(chain(*runs))}
        # Of one seed there is no p, which counts all comparisons: what is there may be shown.
        if done.keys() > set(tables.CONTROLS) and (len(seeds) == 1 or len(done) == len(names)):
            which = {(1,): "", (2,): "_seed_2"}.get(seeds, "_seeds")
            name = f"self_training_{round(100 * share)}{which}"
            _write(clone, name, tables.self_training(clone, done))
            _write(clone, f"{name}_trace", tables.trace(clone, done))


PARTS: dict[str, Callable[[Clone, Settings, int], None]] = {
    "systems": systems, "few-labels": few_labels, "second-seed": second_seed, "larger": larger,
}  # fmt: skip


def _write(clone: Clone, name: str, table: pd.DataFrame) -> None:
    path = RESULTS / f"{name}.csv"
    path.write_text(table.to_csv(index=False, float_format="%.6f", lineterminator="\n"), encoding="utf-8")
    print(f"{path} (commit {clone.commit}, {platform.machine()}, {time.strftime('%F %R')})\n{tables.markdown(table)}\n")


def _slug(text: str) -> str:
    return text.replace(",", "").replace(" ", "-").lower()


if __name__ == "__main__":
    sys.exit(main())
