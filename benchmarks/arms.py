"""The grid of the ablation: on which images, and what each arm changes.

Labels are scarce: of 300 synthetic patients 70 % are held out, and of the others' images a fifth keep their labels. All
arms share images and split, and every Noisy Student starts from the same teacher; what an arm changes stands beside it.
A seed stands for the classification layers, the order of the batches and all noise of a training, and for another fold,
which is another choice of labelled images: what somebody who repeats this on the same patients would not hold fixed.

The recommended settings were written down from the paper and tried once on other patients (`demo.seed=7`, one seed),
beside two controls; nothing was tuned. There the student beat its teacher, and labelled images alone with as many steps
and the noise `cells` did as well as the student: so both controls are arms of the table, and a reader should look at
them before crediting the pseudo-labels.
"""

from dataclasses import dataclass

Settings = dict[str, str | int | float]

SEEDS = (1, 2, 3)

COMMON: Settings = {
    "demo.patients": 300,
    "demo.images": 3000,
    "demo.unlabelled": 4,
    "split.test": "fraction",
    "split.test_share": 0.7,
    "split.labelled_share": 0.2,
    "split.fold_by": "image",
    "train.epochs": 8,
    "train.learning_rate": 0.001,
    "train.schedule": "step",
}
"""Unlike the demo's `large` set there are 4 images that nobody labelled and not 400: no arm learns from them."""

BASE = "base-half"
CONTROL = "base-longer-noise"
"""Labelled images alone with the steps and the noise of the recommended student: the rest is the pseudo-labels'."""


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


NOISE: Settings = {"noisy_student.iterations": 1, "noisy_student.augment": "cells"}
SOFT: Settings = NOISE | {"noisy_student.labels": "soft"}
RECOMMENDED: Settings = SOFT | {"noisy_student.train_on": "labelled+pseudo"}
"""The overrides of docs/experiments.md. An epoch of its student has four times the steps of an epoch of its teacher."""
LONGER: Settings = {"train.epochs": 32, "train.lr_step": 28}
"""As many steps for the labelled images alone, with the learning rate falling at the same share of them."""

NOISY, EFFICIENT = "noisy_student", "efficientnet"
HALF: Settings = {"efficientnet.labels": "half"}
ARMS = (
    Arm(BASE, EFFICIENT, "labelled images alone", HALF),
    Arm("base-longer", EFFICIENT, "the same with a student's steps", HALF | LONGER),
    Arm(CONTROL, EFFICIENT, "and with its noise", HALF | LONGER | {"train.augment": "cells"}),
    Arm("base-all", EFFICIENT, "all labels, also those that no other arm sees", {}),
    Arm("published", NOISY, "Noisy Student as published, third student", {}),
    Arm("published-first", NOISY, "its first student", {}, run="published", iteration=1),
    Arm("noise", NOISY, "first student, with noise", NOISE),
    Arm("soft", NOISY, "and soft labels", SOFT),
    Arm("recommended", NOISY, "and labelled images in every step: recommended", RECOMMENDED),
    Arm("meta-pseudo-labels", "meta_pseudo_labels", "Meta Pseudo Labels, 3 epochs", {"train.epochs": 3}),
    Arm("linear-probe", "linear_probe", "linear probe on the labelled images", {"linear_probe.labels": "half"}),
)
