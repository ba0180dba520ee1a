"""`params.yaml` as typed, frozen, validated objects. Every value comes from the file: there are no defaults here.

Pydantic does the checking; this module turns its findings into sentences that name the key and what is allowed.
"""

import difflib
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

import pydantic
from pydantic import Field
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from job.errors import UserError

_FAMILIES = {
    "efficientnet-": "b0 b1 b2 b3 b4 b5 b6 b7 lite0 lite1 lite2",
    "torchvision/convnext_": "tiny small base large",
    "torchvision/efficientnet_": "b0 b1 b2 b3 b4 b5 b6 b7 v2_s v2_m v2_l",
    "torchvision/mobilenet_": "v2 v3_small v3_large",
    "torchvision/regnet_x_": "400mf 800mf 1_6gf 3_2gf 8gf 16gf 32gf",
    "torchvision/regnet_y_": "400mf 800mf 1_6gf 3_2gf 8gf 16gf 32gf",
    "torchvision/resnet": "18 34 50 101 152",
    "torchvision/resnext": "50_32x4d 101_32x8d 101_64x4d",
    "torchvision/wide_resnet": "50_2 101_2",
}
_BACKBONES = tuple(f"{family}{size}" for family, sizes in _FAMILIES.items() for size in sizes.split())
Backbone = Literal[_BACKBONES]  # type: ignore[valid-type]  # made of families and sizes
Method = Literal["efficientnet", "noisy_student", "meta_pseudo_labels", "fixmatch", "linear_probe"]
METHODS: tuple[str, ...] = get_args(Method)
Seed = Annotated[int, Field(ge=0, lt=2**63)]
Count = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(gt=0, lt=1)]
Chance = Annotated[float, Field(ge=0, lt=1)]
Augment = Literal["none", "dihedral", "cells", "randaugment"]


class Section(pydantic.BaseModel):
    """One section of params.yaml. Unknown keys are errors, nothing changes, and text is never made a number."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True, strict=True)


class Demo(Section):
    seed: Seed
    patients: Annotated[int, Field(ge=20, le=1000)]
    images: Annotated[int, Field(ge=80, le=20_000)]
    unlabelled: Annotated[int, Field(ge=0, le=10_000)]


class Data(Section):
    root: Annotated[str, Field(min_length=1)]
    layout: Literal["auto", "c-nmc", "csv", "folders"]
    # `-S data.positive=1` arrives as a number, and a class may be called so.
    positive: Annotated[
        str, pydantic.BeforeValidator(lambda v: str(v) if type(v) in {int, float} else v), Field(min_length=1)
    ]
    pixels: Annotated[int, Field(ge=32, le=1024)]
    crop: Annotated[int, Field(ge=0, le=4096)]
    center: Literal["cell", "image"]
    max_rejected: Annotated[int, Field(ge=0)]
    near_copies: Annotated[float, Field(ge=0, lt=1)]


class Split(Section):
    seed: Seed
    test: Literal["report", "official", "fraction", "fold_0", "fold_1", "fold_2"]
    test_share: Share
    draws: Annotated[int, Field(ge=1, le=10_000)]
    linked: Literal["drop_training", "drop_test", "refuse"]
    folds: Annotated[int, Field(ge=2, le=50)]
    fold_by: Literal["image", "subject"]
    labelled_share: Annotated[float, Field(gt=0, le=1)]
    unlabelled: Literal["masked_half", "pool", "both"]


class Model(Section):
    backbone: Backbone
    weights: Annotated[str, Field(min_length=1)]
    weights_sha256: Annotated[str, Field(pattern="^([0-9a-f]{64})?$")]
    dropout: Annotated[float, Field(ge=0, lt=1)]
    stochastic_depth: Annotated[float, Field(ge=0, lt=1)]

    @pydantic.model_validator(mode="after")
    def _a_file_is_known_by_its_digest(self) -> Self:
        if (self.weights in ("imagenet", "none")) == bool(self.weights_sha256):
            raise ValueError(
                "weights is imagenet, none (both with an empty weights_sha256), or the path of a file with its SHA-256"
            )
        return self


class Train(Section):
    seed: Seed
    epochs: Count
    batch_size: Annotated[int, Field(ge=2)]
    learning_rate: Annotated[float, Field(gt=0, le=10)]
    momentum: Annotated[float, Field(ge=0, lt=1)]
    optimiser: Literal["sgd", "adamw"]
    weight_decay: Annotated[float, Field(ge=0, lt=1)]
    schedule: Literal["step", "cosine"]
    warmup_epochs: Annotated[int, Field(ge=0)]
    lr_step: Count
    lr_gamma: Annotated[float, Field(gt=0, le=1)]
    class_weights: Literal["none", "balanced"]
    label_smoothing: Annotated[float, Field(ge=0, lt=1)]
    ema_decay: Annotated[float, Field(ge=0, lt=1)]
    patience: Annotated[int, Field(ge=0)]
    augment: Augment
    magnitude: Annotated[int, Field(ge=0, le=30)]
    batch_norm: Literal["running", "recomputed"]
    threads: Annotated[int, Field(ge=1, le=256)]
    device: Literal["auto", "cpu", "cuda"]
    devices: Annotated[int, Field(ge=1, le=4096)]
    precision: Literal["auto", "fp32", "bf16", "fp16"]
    deterministic: bool
    cudnn_benchmark: bool
    tf32: bool
    compile: bool

    @pydantic.model_validator(mode="after")
    def _timing_decides_nothing(self) -> Self:
        if self.deterministic and self.cudnn_benchmark:
            raise ValueError("cudnn_benchmark chooses algorithms by the clock: it needs deterministic=false")
        if self.devices > self.batch_size:
            raise ValueError(f"devices is {self.devices}, more than the images of a batch ({self.batch_size})")
        return self


class Machine(Section):
    keep_memory: bool
    recompute_activations: bool
    save_every_seconds: Annotated[float, Field(ge=0)]


class EfficientNet(Section):
    labels: Literal["all", "half"]


class NoisyStudent(Section):
    iterations: Annotated[int, Field(ge=1, le=20)]
    labels: Literal["hard", "soft"]
    temperature: Annotated[float, Field(gt=0, le=10)]
    train_on: Literal["pseudo", "labelled+pseudo"]
    batch_ratio: Count
    loss_weight: Annotated[float, Field(gt=0, le=100)]
    confidence: Chance
    balance: bool
    # One list, of which a message can say what is allowed; of a union pydantic names every part.
    backbone: Literal[Backbone, "same"]
    dropout: Chance
    stochastic_depth: Chance
    augment: Augment
    finetune_epochs: Annotated[int, Field(ge=0)]


class MetaPseudoLabels(Section):
    augment: Augment
    consistency: Annotated[float, Field(ge=0, le=100)]
    confidence: Chance
    ramp_epochs: Count
    finetune_epochs: Annotated[int, Field(ge=0)]


class FixMatch(Section):
    confidence: Chance
    batch_ratio: Count
    loss_weight: Annotated[float, Field(gt=0, le=100)]
    augment: Augment


class LinearProbe(Section):
    labels: Literal["all", "half"]
    c: Annotated[float, Field(gt=0, le=1e6)]


class Predict(Section):
    batch_size: Count
    tta: bool


class Explain(Section):
    cells: Annotated[int, Field(ge=1, le=200)]


class Evaluation(Section):
    sensitivity: Annotated[float, Field(gt=0, le=1)]
    miss_cost: Annotated[float, Field(gt=0, le=1000)]
    prevalences: Annotated[list[Share], Field(min_length=1)]
    error: Share


class Report(Section):
    title: Annotated[str, Field(min_length=1, max_length=120)]
    publish_images: bool
    pseudonyms: bool


class Params(Section):
    methods: Annotated[list[Method], Field(min_length=1)]
    folds: Annotated[list[Count], Field(min_length=1)]
    demo: Demo
    data: Data
    split: Split
    model: Model
    train: Train
    machine: Machine
    efficientnet: EfficientNet
    noisy_student: NoisyStudent
    meta_pseudo_labels: MetaPseudoLabels
    fixmatch: FixMatch
    linear_probe: LinearProbe
    predict: Predict
    explain: Explain
    evaluation: Evaluation
    report: Report

    def labels(self, method: str) -> str:
        """Which training labels a method sees: `all`, or the `half` whose rest arrives without labels."""
        section = getattr(self, method)
        return section.labels if isinstance(section, EfficientNet | LinearProbe) else "half"

    @pydantic.model_validator(mode="after")
    def _sections_fit(self) -> Self:
        for name, values in (("methods", self.methods), ("folds", self.folds)):
            if len(set(values)) != len(values):
                raise ValueError(f"{name} holds a value twice: {values}")
        if max(self.folds) > self.split.folds:
            raise ValueError(f"folds names fold {max(self.folds)}, but split.folds is {self.split.folds}")
        if self.train.compile and self.machine.recompute_activations:
            raise ValueError(
                "train.compile chooses by itself what is computed again: set machine.recompute_activations=false"
            )
        student = self.noisy_student.backbone
        if student not in ("same", self.model.backbone) and self.model.weights not in ("imagenet", "none"):
            raise ValueError(
                f"noisy_student.backbone={student}: model.weights is a file for {self.model.backbone}, which does not "
                "fit it: use same, or model.weights=imagenet or none"
            )
        if "meta_pseudo_labels" in self.methods and self.train.devices > 1:
            raise ValueError(
                f"train.devices={self.train.devices}: meta_pseudo_labels trains a fold on one device; set "
                "train.devices=1, and use GPUs by folds"
            )
        if self.train.warmup_epochs >= self.train.epochs:
            raise ValueError(
                f"train.warmup_epochs={self.train.warmup_epochs} must be less than train.epochs={self.train.epochs}"
            )
        return self


_RULES = {
    "int_type": "a whole number (integer)",
    "int_from_float": "a whole number (integer)",
    "float_type": "a number",
    "string_type": "text",
    "bool_type": "true or false",
    "list_type": "a list in brackets, such as [1, 2] or [a, b]",
    "model_type": "a section with keys of its own",
    "string_too_short": "text that is not empty",
    "string_too_long": "text of at most {max_length} characters",
    "string_pattern_mismatch": "empty, or the 64 hexadecimal digits of a SHA-256 in small letters",
    "too_short": "a list of at least {min_length}",
}
"""What a value must be, by the types of those findings that pydantic words for programmers."""


def check_fold(params: Params, method: str, fold: int) -> None:
    """Refuse a fold of a method that is not among those that the parameters name."""
    if method not in params.methods or fold not in params.folds:
        raise UserError(
            f"{method} fold {fold} is not among methods and folds of params.yaml: "
            f"{', '.join(params.methods)}; {', '.join(map(str, params.folds))}"
        )


def load(path: Path = Path("params.yaml")) -> Params:
    """Read and validate a parameter file; a UserError says that it is no YAML, or names all wrong values at once."""
    try:
        raw = YAML(typ="safe").load(path)
    except FileNotFoundError:
        raise UserError(f"{path} does not exist: run from the root of the repository") from None
    except (IsADirectoryError, UnicodeDecodeError):
        raise UserError(f"{path} is not a text file in UTF-8") from None
    except YAMLError as error:
        raise UserError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(raw, dict):
        raise UserError(f"{path} must hold sections such as 'train:', not {type(raw).__name__}")
    try:
        return Params.model_validate(raw)
    except pydantic.ValidationError as error:
        raise UserError("\n".join(f"{path}: {_sentence(finding)}" for finding in error.errors())) from None


def _sentence(finding: Any) -> str:
    key = ".".join(str(part) for part in finding["loc"])
    if finding["type"] == "extra_forbidden":
        *sections, name = finding["loc"]
        section: Any = Params.model_fields[sections[0]].annotation if sections else Params
        allowed = list(section.model_fields)
        close = difflib.get_close_matches(str(name), allowed, n=1)
        hint = f", did you mean {close[0]!r}?" if close else "."
        return f"unknown key {key!r}{hint} Allowed here: {', '.join(allowed)}"
    if finding["type"] == "missing":
        return f"key {key!r} is missing"
    if finding["type"] == "value_error":
        return f"{key}: {finding['ctx']['error']}".removeprefix(": ")
    rule = _RULES.get(finding["type"], finding["msg"].removeprefix("Input should be ")).format(**finding.get("ctx", {}))
    value = "and has no value" if finding["input"] is None else f"not {finding['input']!r}"
    return f"{key}: must be {rule}, {value}"
