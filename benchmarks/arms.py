"""The grid of the ablation: on which images, and what each arm changes.

Labels are scarce: of 300 synthetic patients 210 are held out, and of the images of the others' folds a fifth keep their
labels. All arms share images, split and the section `train`, so every Noisy Student starts from the same teacher; what
an arm changes stands beside it. A seed stands for the classification layers, the order of the batches and all noise of
a training, and for another fold, which is another choice of labelled images: that is what somebody who repeats this on
the same patients would not hold fixed.

The recommended settings were chosen on other patients (`demo.seed=7`); the ones below were not looked at until then.
"""

from dataclasses import dataclass

SEEDS = (1, 2, 3)

COMMON = {
    "demo.patients": 300,
    "demo.images": 3000,
    "demo.unlabelled": 4,
    "split.test": "fraction",
    "split.test_share": 0.7,
    "split.labelled_share": 0.2,
    "train.epochs": 8,
}
"""Unlike the demo's `large` set there are 4 images that nobody labelled and not 400: no arm learns from them."""

BASE = "base-half"

Settings = dict[str, str | int | float]


@dataclass(frozen=True)
class Arm:
    """One line of the table.

    Attributes:
        name: of the experiment, before its seed.
        method: which method runs.
        changed: what the arm changes, in words.
        settings: the same as parameters.
        run: the arm whose experiments have the model, where it is not a run of its own.
        iteration: of that run's models; None for the last one.
    """

    name: str
    method: str
    changed: str
    settings: Settings
    run: str = ""
    iteration: int | None = None

    @property
    def experiment(self) -> str:
        """Name of the experiments that have the model, before their seeds."""
        return self.run or self.name


def experiment(name: str, seed: int) -> str:
    """Name of one experiment."""
    return f"{name}-{seed}"


PUBLISHED: Settings = {}
NOISE: Settings = {"noisy_student.iterations": 1, "noisy_student.augment": "cells"}
SOFT: Settings = NOISE | {"noisy_student.labels": "soft"}
LABELLED: Settings = SOFT | {"noisy_student.train_on": "labelled+pseudo"}
RECOMMENDED: Settings = LABELLED | {"noisy_student.finetune_epochs": 1}

NOISY, EFFICIENT = "noisy_student", "efficientnet"
ARMS = (
    Arm(BASE, EFFICIENT, "labelled images only", {"efficientnet.labels": "half"}),
    Arm(
        "base-half-longer", EFFICIENT, "labelled images only, with the recommended student's noise and steps",
        {"efficientnet.labels": "half", "train.augment": "cells", "train.epochs": 32, "train.lr_step": 28},
    ),
    Arm("base-all", EFFICIENT, "every label, also those that the others do not see", {}),
    Arm("published", NOISY, "Noisy Student as published: hard pseudo-labels alone, 3 students", PUBLISHED),
    Arm("published-first", NOISY, "its first student", PUBLISHED, run="published", iteration=1),
    Arm("noise", NOISY, "first student, + noise (cells)", NOISE),
    Arm("soft", NOISY, "+ soft pseudo-labels", SOFT),
    Arm("labelled", NOISY, "+ labelled images in every step", LABELLED),
    Arm("recommended", NOISY, "recommended", RECOMMENDED),
    Arm("meta-pseudo-labels", "meta_pseudo_labels", "teacher and student together", {}),
    Arm("linear-probe", "linear_probe", "labelled images only, network left as it is", {"linear_probe.labels": "half"}),
)  # fmt: skip
