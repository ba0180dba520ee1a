"""The real `dvc repro`, on a very small demo."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from ruamel.yaml import YAML

from tests.evaluation.recompute import assert_recomputes
from tests.pipeline import repository

OUTPUTS = ("data", "runs", "predictions", "ensembles", "results", "site")


# Python reads this file when it starts: it notes what a stage opens, without a line in the stage.
WATCH = """
import os, sys
argv = sys.orig_argv
if argv[1:4] == ["-m", "job", "stage"]:
    name = "_".join(argv[4:]).replace("-", "")
    log = os.open(os.path.join(os.environ["WATCHED"], name), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    def note(event, arguments):
        if event == "open" and isinstance(arguments[0], str | bytes):
            os.write(log, os.path.abspath(os.fsdecode(arguments[0])).encode() + b"\\n")
    sys.addaudithook(note)
"""


@pytest.fixture(scope="module")
def watched(tmp_path_factory):
    """A folder with a file for each stage that ran in `repo`, which names every file it opened."""
    return tmp_path_factory.mktemp("watched")


@pytest.fixture(scope="module")
def repo(tmp_path_factory, watched):
    """A repository in which `dvc repro` has run once."""
    folder = repository.create(tmp_path_factory.mktemp("plain"))
    hook = tmp_path_factory.mktemp("hook")
    (hook / "sitecustomize.py").write_text(WATCH)
    output = repository.run(folder, "dvc", "repro", PYTHONPATH=str(hook), WATCHED=str(watched)).stdout
    assert len(repository.stages_run(output)) == 4 + 4 + 4 + 2 + 3
    return folder


def test_a_stage_opens_nothing_that_dvc_does_not_know_it_reads(repo, watched):
    """What is read and not listed changes a result that DVC then takes for current."""
    stages = YAML(typ="safe").load(repo / "dvc.yaml")["stages"]
    logs = sorted(watched.iterdir())
    assert {log.name.split("_")[0] for log in logs} == set(stages)
    for log in logs:
        name, *rest = log.name.split("_")
        item = dict(zip(("method", "fold"), ("_".join(rest).removeprefix("method_").split("_fold_")), strict=False))
        entry = stages[name]

        def filled(text, item=item):
            for key, value in item.items():
                text = text.replace(f"${{item.{key}}}", value)
            return text.replace("${data.root}", "data/raw/demo")

        outputs = [next(iter(out)) if isinstance(out, dict) else out
                   for kind in ("outs", "metrics", "plots") for out in entry.get(kind, [])]  # fmt: skip
        known = [repo / filled(path) for path in [*entry["deps"], *outputs]]
        opened = {Path(line) for line in log.read_text().splitlines()}
        rooms = [repo / part for part in ("data", "runs", "predictions", "ensembles", "results", "report_templates")]
        strange = {
            path.relative_to(repo).as_posix() for path in opened
            if any(room in path.parents for room in rooms)
            and not any(one == path or one in path.parents for one in known)
            # Written beside what it becomes, then renamed.
            and not any(part.startswith(".") for part in path.relative_to(repo).parts)
        }  # fmt: skip
        assert strange == set(), log.name


def test_the_figures_are_what_scikit_learn_computes_from_the_predictions(repo):
    assert assert_recomputes(repo / "results/evaluation.json", repo / "results/predictions.csv") > 50


def test_synthetic_data_is_called_synthetic_on_every_page(repo):
    pages = list((repo / "site").glob("*.html"))
    assert len(pages) >= 6
    assert all("ynthetic" in page.read_text() for page in pages)


def test_test_subjects_are_in_no_fold_and_masked_labels_in_no_run(repo):
    split = pd.read_csv(repo / "data/split.csv", keep_default_na=False)
    test = set(split.loc[split["role"] == "test", "subject"])
    assert test
    assert not test & set(split.loc[split["role"] == "train", "subject"])
    masked = set(split.loc[(split["half"] == "masked") & (split["fold"].astype(str) != "1"), "image"])
    pseudo = pd.read_csv(repo / "runs/noisy_student/fold-1/iterations/1/pseudo_labels.csv")
    assert set(pseudo["image"]) == masked


def test_a_second_repro_runs_nothing(repo):
    output = repository.run(repo, "dvc", "repro").stdout
    assert repository.stages_run(output) == []
    assert "up to date" in output


def test_a_clone_without_outputs_knows_whether_the_lock_is_current(repo, tmp_path):
    repository.run(repo, "git", "add", "--all")
    repository.run(repo, "git", "commit", "--quiet", "--allow-empty", "--message", "results")
    clone = tmp_path / "clone"
    repository.run(tmp_path, "git", "clone", "--quiet", repo, clone)
    before = sorted(clone.rglob("*"))
    assert "up to date" in repository.run(clone, ".github/scripts/current").stdout
    repository.change(clone, {"predict": {"batch_size": 32}})
    result = repository.run(clone, ".github/scripts/current", check=False)
    assert result.returncode == 1
    # Where the outputs are, DVC itself says nothing by its exit code.
    repository.change(repo, {"predict": {"batch_size": 32}})
    assert repository.run(repo, ".github/scripts/current", check=False).returncode == 1
    repository.run(repo, "git", "checkout", "params.yaml")
    assert "up to date" in repository.run(repo, ".github/scripts/current").stdout
    assert "dvc.lock is of another state" in result.stdout
    assert [path for path in sorted(clone.rglob("*")) if ".dvc" not in path.parts and ".git" not in path.parts] == [
        path for path in before if ".git" not in path.parts and ".dvc" not in path.parts
    ]


@pytest.fixture(scope="module")
def remote(repo, tmp_path_factory):
    """A folder as a DVC remote that has everything, and what `dvc` is told to use it."""
    folder = tmp_path_factory.mktemp("remote")
    add = ("dvc", "remote", "add", "--local", "--force", "--default", "lab", str(folder))
    repository.run(repo, "git", "add", "--all")
    repository.run(repo, "git", "commit", "--quiet", "--allow-empty", "--message", "results")
    repository.run(repo, *add)
    repository.run(repo, "dvc", "push")
    return add


@pytest.fixture
def clone(repo, remote, tmp_path):
    """A clone beside that remote."""
    repository.run(tmp_path, "git", "clone", "--quiet", repo, tmp_path / "clone")
    repository.run(tmp_path / "clone", *remote)
    return tmp_path / "clone"


def test_a_second_clone_with_the_folder_remote_has_nothing_to_do(repo, clone):
    repository.run(clone, "dvc", "pull")
    output = repository.run(clone, "dvc", "repro").stdout
    assert repository.stages_run(output) == []
    assert "up to date" in output
    assert repository.digests(clone, *OUTPUTS) == repository.digests(repo, *OUTPUTS)
    repository.change(clone, {"noisy_student": {"labels": "soft"}})
    stages = repository.stages_run(repository.run(clone, "dvc", "repro", "--dry").stdout)
    assert not {"demo", "prepare", "split"} & set(stages)
    assert not [stage for stage in stages if "@efficientnet" in stage]
    assert {"train@noisy_student-1", "train@noisy_student-2"} <= set(stages)


def test_a_clone_pulls_only_what_a_change_needs(clone):
    repository.change(clone, {"report": {"title": "Another"}})
    output = repository.run(clone, "dvc", "repro", "--pull", "--allow-missing").stdout
    assert repository.stages_run(output) == ["check", "report"]
    assert "Another" in (clone / "site/index.html").read_text()
    assert not (clone / "runs").exists()
    assert not (clone / "data/raw/demo").exists()


def test_new_cells_get_the_probabilities_that_were_evaluated(repo):
    repository.run(repo, "python", "-m", "job", "predict", "data/raw/demo", "--out", ".scores.tmp")
    scores = pd.read_csv(repo / ".scores.tmp", keep_default_na=False)
    scores["image"] = scores["image"].str.removeprefix("data/raw/demo/")
    pooled = pd.read_csv(repo / "ensembles/efficientnet/predictions.csv")
    mean = pooled[(pooled["rule"] == "mean") & (pooled["role"] == "test")].merge(scores, on="image")
    assert len(mean) > 10
    assert (mean["p_ALL_x"] - mean["p_ALL_y"]).abs().max() < 1e-6
    majority = pooled[(pooled["rule"] == "majority") & (pooled["role"] == "test")].merge(scores, on="image")
    called = majority[majority["call"] != "abstained"]
    assert (called["predicted"] == called["call"]).all()
    # A new person's cell may lie outside what so few training images show; it says so, and is not called.
    assert majority.loc[majority["call"] == "abstained", "problem"].str.startswith("unlike").all()
    assert len(called) > 0.8 * len(majority)


def test_every_output_of_evaluate_is_a_dependency_of_the_report(repo):
    """Listed one by one: the folder is there in a clone without outputs, because Git tracks the summary in it."""
    stages = YAML(typ="safe").load(repo / "dvc.yaml")["stages"]
    entries = [entry for kind in ("outs", "metrics", "plots") for entry in stages["evaluate"][kind]]
    outputs = {entry if isinstance(entry, str) else next(iter(entry)) for entry in entries}
    # The differences of all pairs of models are for readers of files; no page shows them.
    assert outputs - {"results/differences.csv"} <= set(stages["report"]["deps"])


def test_the_page_of_the_moment_does_not_make_the_report_stale(repo):
    repository.run(repo, "python", "-m", "job", "site")
    assert repository.stages_run(repository.run(repo, "dvc", "repro").stdout) == []
    page = (repo / "site/moment.html").read_text()
    assert repository.run(repo, "git", "rev-parse", "HEAD").stdout.strip()[:7] in page


def test_a_template_reruns_the_report_alone(repo):
    template = next((repo / "report_templates").glob("*.html"))
    before = template.read_text()
    template.write_text(before + "\n")
    try:
        assert repository.stages_run(repository.run(repo, "dvc", "repro").stdout) == ["report"]
    finally:
        template.write_text(before)
        repository.run(repo, "dvc", "repro")


def test_epochs_rerun_training_and_what_follows_and_reverting_restores(repo):
    before = repository.digests(repo, *OUTPUTS)
    repository.change(repo, {"train": {"epochs": 2}, "methods": ["efficientnet"]})
    stages = repository.stages_run(repository.run(repo, "dvc", "repro").stdout)
    assert "train@efficientnet-1" in stages
    assert {"predict@efficientnet-2", "ensemble@efficientnet", "evaluate", "report"} <= set(stages)
    assert not {"demo", "prepare", "split"} & set(stages)
    assert not any("noisy_student" in stage for stage in stages)
    assert len(pd.read_csv(repo / "runs/efficientnet/fold-1/history.csv")) == 2
    repository.change(repo, {"train": {"epochs": 1}, "methods": ["efficientnet", "noisy_student"]})
    output = repository.run(repo, "dvc", "repro").stdout
    assert not [stage for stage in repository.stages_run(output) if stage.startswith(("train", "predict"))]
    assert repository.digests(repo, *OUTPUTS) == before


def test_folds_side_by_side_write_the_same_bytes(repo, tmp_path):
    other = repository.create(tmp_path / "other")
    output = repository.run(other, "python", "-m", "job", "folds", "--jobs", "2").stdout
    assert "4 folds are trained and predicted" in output
    assert repository.digests(other, "runs", "predictions") == repository.digests(repo, "runs", "predictions")
    # The same entries, in the order in which the folds ended. `check` depends on the text of params.yaml, which the
    # test before this one has written anew.
    ours, theirs = (YAML(typ="safe").load(folder / "dvc.lock")["stages"] for folder in (other, repo))
    assert len([name for name in ours if name.startswith(("train@", "predict@"))]) == 8
    for name in ours.keys() - {"check"}:
        assert ours[name] == theirs[name]
    assert "up to date" in repository.run(other, "python", "-m", "job", "folds", "--jobs", "2").stdout


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("train.epohs=3", ["epohs"]),  # DVC itself refuses a key that is not there, and adds one after a plus
        ("+trian.epochs=3", ["'trian'", "did you mean 'train'"]),
        ("data.root=/nowhere/at/all", ["/nowhere/at/all does not exist", "Kaggle"]),
    ],
)
def test_a_wrong_override_fails_before_anything_runs(repo, override, expected):
    # DVC clears a stage's own output before it runs: that of `check` is a constant, and `dvc checkout` brings it back.
    repository.run(repo, "dvc", "checkout")
    before = repository.digests(repo, *OUTPUTS)
    result = repository.run(repo, "dvc", "exp", "run", "-S", override, check=False)
    repository.run(repo, "git", "checkout", "--quiet", "params.yaml")
    repository.run(repo, "dvc", "checkout")
    assert result.returncode != 0
    for part in expected:
        assert part in result.stdout
    assert "Traceback" not in result.stdout
    assert repository.stages_run(result.stdout) in ([], ["check"])
    assert "check" in result.stdout or "epohs" in override
    assert repository.digests(repo, *OUTPUTS) == before


def test_an_experiment_changes_one_parameter_and_is_listed(repo):
    repository.run(repo, "git", "add", "--all")
    repository.run(repo, "git", "commit", "--quiet", "--allow-empty", "--message", "results")
    output = repository.run(repo, "dvc", "exp", "run", "-n", "renamed", "-S", "report.title=Other").stdout
    assert repository.stages_run(output) == ["check", "report"]
    assert "Other" in (repo / "site/index.html").read_text()
    listed = repository.run(repo, "dvc", "exp", "show", "--csv").stdout
    assert "renamed" in listed
    repository.run(repo, "git", "checkout", "--quiet", ".")
    repository.run(repo, "dvc", "checkout")


def stage(repo, name, *arguments):
    return repository.run(repo, "python", "-m", "job", "stage", name, *arguments, check=False)


def test_a_fold_file_from_another_split_is_refused(repo, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(repo, folder, symlinks=True)
    path = folder / "predictions/efficientnet/fold-1.csv"
    other = path.read_text().replace("validation,1", "validation,2")
    path.unlink()
    path.write_text(other)
    before = repository.digests(folder, "ensembles")
    result = stage(folder, "ensemble", "--method", "efficientnet")
    assert result.returncode == 2
    assert "fold-1.csv" in result.stdout
    assert "dvc repro" in result.stdout
    assert "Traceback" not in result.stdout
    assert repository.digests(folder, "ensembles") == before


def test_a_fold_file_says_over_how_many_views_it_is_a_mean(repo, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(repo, folder, symlinks=True)
    path = folder / "predictions/efficientnet/fold-1.csv"
    once = pd.read_csv(path)
    assert set(once["views"]) == {1}
    path.unlink()
    repository.change(folder, {"predict": {"tta": True}})
    assert stage(folder, "predict", "--method", "efficientnet", "--fold", "1").returncode == 0
    averaged = pd.read_csv(path)
    assert set(averaged["views"]) == {8}
    assert (averaged["p_ALL"] != once["p_ALL"]).any()
    result = stage(folder, "ensemble", "--method", "efficientnet")
    assert result.returncode == 2
    assert "column 'views'" in result.stdout


def test_a_damaged_image_stops_prepare_and_keeps_the_old_outputs(repo, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(repo, folder, symlinks=True)
    image = next((folder / "data/raw/demo/training_data/fold_0/all").glob("*.png"))
    content = image.read_bytes()
    image.unlink()
    image.write_bytes(content[: len(content) // 2])
    before = repository.digests(folder, "data/prepared")
    result = stage(folder, "prepare")
    assert result.returncode == 2
    assert f"{image.name}: truncated" in result.stdout
    assert repository.digests(folder, "data/prepared") == before
    assert sorted(path.name for path in (folder / "data").iterdir() if path.name.endswith(".tmp")) == []


# One process for all of them imports torch once.
EACH = """
import contextlib, io, json, sys
from job.__main__ import main
answers = []
for call in json.loads(sys.argv[1]):
    with contextlib.redirect_stderr(io.StringIO()) as said:
        answers.append((main(["stage", *call]), said.getvalue()))
print(json.dumps(answers))
"""


@pytest.fixture
def answers(tmp_path):
    """Runs stages in a folder where nothing has been made: exit code and message of each."""
    shutil.copy(repository.ROOT / "params.yaml", tmp_path / "params.yaml")

    def run(*calls):
        command = [sys.executable, "-c", EACH, json.dumps([call.split() for call in calls])]
        environment = repository.ENVIRONMENT | {"PYTHONPATH": str(repository.ROOT)}
        result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stderr
        return list(zip(calls, *zip(*json.loads(result.stdout), strict=True), strict=True))

    return run


def test_an_unknown_fold_or_method_is_a_sentence(answers):
    wrong = ("--method efficientnet --fold 9", "--method other --fold 1")
    for call, code, said in answers(*(f"{name} {arguments}" for name in ("train", "predict") for arguments in wrong)):
        assert code == 2, call
        assert "is not among methods and folds" in said, call


def test_a_stage_without_its_inputs_is_a_sentence(answers, tmp_path):
    """Somebody runs one stage by hand in a folder where nothing has been made."""
    method = "--method efficientnet"
    of_methods = (f"train {method} --fold 1", f"predict {method} --fold 1", f"ensemble {method}")
    for call, code, said in answers("prepare", "split", *of_methods, "evaluate", "explain", "report"):
        assert code == 2, call
        assert said.startswith("error: "), call
        assert "does not exist" in said, call
    assert {path.name for path in tmp_path.iterdir()} <= {"params.yaml", "data", "runs"}
