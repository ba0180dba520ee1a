import pytest
from ruamel.yaml import YAML

from job import params
from job.errors import UserError
from tests import ROOT


def changed(tmp_path, **changes):
    """params.yaml with dotted keys set to other values."""
    raw = YAML(typ="safe").load(ROOT / "params.yaml")
    for key, value in changes.items():
        *sections, last = key.split(".")
        target = raw
        for section in sections:
            target = target.setdefault(section, {})
        target[last] = value
    path = tmp_path / "params.yaml"
    with path.open("w") as handle:
        YAML(typ="safe").dump(raw, handle)
    return path


def test_the_file_of_the_repository_is_valid():
    assert params.load(ROOT / "params.yaml").methods == ["efficientnet", "noisy_student"]


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("train.epohs", 3, ["train.epohs", "did you mean 'epochs'", "learning_rate"]),
        ("trian.epochs", 3, ["trian", "did you mean 'train'", "noisy_student"]),
        ("train.epochs", "three", ["train.epochs", "integer", "'three'"]),
        ("train.epochs", 0, ["train.epochs", "greater than or equal to 1"]),
        ("train.epochs", 2.5, ["train.epochs", "integer"]),
        ("train.epochs", True, ["train.epochs", "integer"]),
        ("model.dropout", 1.5, ["model.dropout", "less than 1"]),
        ("model.backbone", "resnet", ["model.backbone", "efficientnet-b0", "efficientnet-lite0", "'resnet'"]),
        ("model.weights", "imagnet", ["imagenet, none", "SHA-256"]),
        ("model.weights_sha256", "0" * 64, ["empty weights_sha256"]),
        ("model.weights_sha256", "zz", ["model.weights_sha256: must be empty, or the 64 hexadecimal digits"]),
        ("methods", ["noisy_studnet"], ["methods.0", "'efficientnet'", "'noisy_student'"]),
        ("methods", [], ["methods", "at least 1"]),
        ("methods", ["efficientnet", "efficientnet"], ["methods", "twice"]),
        ("folds", [1, 6], ["fold 6", "split.folds is 5"]),
        ("split.test", "random", ["split.test", "'report'", "'official'", "'fraction'"]),
        ("noisy_student.backbone", "efficientnet-b9", ["noisy_student.backbone: must be", "or 'same'"]),
        ("train.epochs", None, ["train.epochs: must be a whole number (integer), and has no value"]),
        ("train.deterministic", "yes", ["train.deterministic: must be true or false, not 'yes'"]),
        ("train.learning_rate", "1e-3x", ["train.learning_rate: must be a number, not '1e-3x'"]),
        ("train.learning_rate", 0, ["must be greater than 0"]),
        ("train.learning_rate", float("inf"), ["must be less than or equal to 10"]),
        ("train.learning_rate", float("nan"), ["train.learning_rate: must be"]),
        ("data.root", 5, ["data.root: must be text, not 5"]),
        ("data.root", "", ["data.root: must be text that is not empty, not ''"]),
        ("report.title", "x" * 121, ["must be text of at most 120 characters"]),
        ("folds", 1, ["folds: must be a list in brackets, such as [1, 2] or [a, b], not 1"]),
        ("data", "mine", ["data: must be a section with keys of its own, not 'mine'"]),
        ("train.devices", 99, ["train: devices is 99, more than the images of a batch"]),
        ("noisy_student.labels", "soft-ish", ["noisy_student.labels", "'hard'", "'soft'"]),
    ],
)
def test_a_wrong_value_is_named_with_what_is_allowed(tmp_path, key, value, expected):
    with pytest.raises(UserError) as caught:
        params.load(changed(tmp_path, **{key: value}))
    for part in expected:
        assert part in str(caught.value)
    assert "nput should" not in str(caught.value)
    assert "{'" not in str(caught.value), "a whole section is printed"


def test_a_class_that_is_called_by_a_number_can_be_the_positive_one(tmp_path):
    """`-S data.positive=1` and `1.0` arrive as numbers, and are what the job asks for."""
    assert params.load(changed(tmp_path, **{"data.positive": 1})).data.positive == "1"
    assert params.load(changed(tmp_path, **{"data.positive": 1.0})).data.positive == "1.0"


def test_all_wrong_values_are_named_at_once(tmp_path):
    with pytest.raises(UserError) as caught:
        params.load(changed(tmp_path, **{"train.epochs": -1, "data.pixels": "big"}))
    assert "train.epochs" in str(caught.value)
    assert "data.pixels" in str(caught.value)


def test_a_compiled_step_chooses_by_itself_what_it_computes_again(tmp_path):
    """Torch cannot capture a graph of checkpointed blocks that keep their buffers."""
    changes = {"train.compile": True, "machine.recompute_activations": True}
    with pytest.raises(UserError, match=r"set machine\.recompute_activations=false"):
        params.load(changed(tmp_path, **changes))


def test_a_weights_file_fits_one_backbone(tmp_path):
    """Else it is found out when the teacher is trained."""
    changes = {"model.weights": "b0.pth", "model.weights_sha256": "0" * 64, "noisy_student.backbone": "efficientnet-b1"}
    with pytest.raises(UserError, match=r"noisy_student\.backbone=efficientnet-b1: .* use same"):
        params.load(changed(tmp_path, **changes))


def test_whole_numbers_are_accepted_where_fractions_are(tmp_path):
    """`-S train.learning_rate=1` arrives as an integer."""
    assert params.load(changed(tmp_path, **{"train.learning_rate": 1})).train.learning_rate == 1.0


def test_a_broken_or_missing_file_is_a_sentence(tmp_path):
    broken = tmp_path / "params.yaml"
    broken.write_text("train: [1, 2\n")
    with pytest.raises(UserError, match="not valid YAML"):
        params.load(broken)
    with pytest.raises(UserError, match="does not exist"):
        params.load(tmp_path / "other.yaml")


def test_every_parameter_is_explained_where_it_is_set():
    for line in (ROOT / "params.yaml").read_text().splitlines():
        is_value = line.strip() and not line.startswith("#") and not line.split("#")[0].rstrip().endswith(":")
        assert not is_value or "#" in line, f"no comment: {line}"


def test_a_method_of_one_device_is_refused_before_the_others_train_for_hours(tmp_path):
    values = {"methods": ["efficientnet", "meta_pseudo_labels"], "train.devices": 2}
    with pytest.raises(UserError, match="meta_pseudo_labels trains a fold on one device"):
        params.load(changed(tmp_path, **values))
