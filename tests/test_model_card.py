import pytest
from ruamel.yaml import YAML

from job import params
from job.commands import card
from job.files import read_json
from tests import ROOT


def test_it_is_what_the_committed_results_say():
    values, summary = params.load(ROOT / "params.yaml"), read_json(ROOT / "results/summary.json")
    rendered = card.render(values, summary, ROOT / card.TEMPLATE, synthetic=True)
    assert (ROOT / card.CARD).read_text(encoding="utf-8") == rendered, "run: python -m job card"


@pytest.mark.parametrize("root", ["data/raw/demo", "data/raw/demo/", "./data/raw/demo", "data/raw/demo/training_data"])
def test_the_demo_is_called_synthetic_however_it_is_named(tmp_path, monkeypatch, root):
    monkeypatch.chdir(tmp_path)
    values = params.load(ROOT / "params.yaml")
    named = values.model_copy(update={"data": values.data.model_copy(update={"root": root})})
    assert card.is_synthetic(named)


def test_what_prepare_found_decides_over_the_name(tmp_path):
    (tmp_path / "summary.json").write_text('{"synthetic": true}')
    values = params.load(ROOT / "params.yaml")
    other = values.model_copy(update={"data": values.data.model_copy(update={"root": "/data/copy of the demo"})})
    assert card.is_synthetic(other, tmp_path / "summary.json")


def test_other_data_is_not_called_synthetic(tmp_path):
    values = params.load(ROOT / "params.yaml")
    real = values.model_copy(update={"data": values.data.model_copy(update={"root": "/data/somewhere/cells"})})
    assert not card.is_synthetic(real, tmp_path / "summary.json")
    text = card.render(real, {"efficientnet": {"mean": {"auroc": 0.5}}}, ROOT / card.TEMPLATE, synthetic=False)
    assert "ynthetic" not in text
    assert "/data/somewhere" not in text
    assert "`cells`" in text
    assert "| efficientnet/mean | 0.500 |" in text


@pytest.mark.parametrize(
    ("section", "changes", "part"),
    [
        ("model", {"weights": "/lab/lymphocytes.safetensors"}, "(weights of the file lymphocytes.safetensors)"),
        ("model", {"weights": "none"}, "(random weights)"),
        ("train", {"optimiser": "adamw"}, "epochs of AdamW"),
        ("data", {"crop": 0}, "the whole image, brought to"),
    ],
)
def test_it_says_what_the_parameters_say(section, changes, part):
    values = params.load(ROOT / "params.yaml")
    other = values.model_copy(update={section: getattr(values, section).model_copy(update=changes)})
    assert part in card.render(other, {}, ROOT / card.TEMPLATE, synthetic=True)


def test_the_registry_names_every_ensemble():
    pipeline = YAML(typ="safe").load(ROOT / "dvc.yaml")
    named = {entry["path"] for entry in pipeline["artifacts"].values()}
    [output] = pipeline["stages"]["ensemble"]["outs"]
    assert named == {output.replace("${item.method}", method) for method in params.METHODS}
