"""One training run over several machines, as train.yml does it: a clone per job, and a folder as their DVC remote."""

import json

import pytest

from tests.pipeline import repository
from tests.pipeline.repository import script

pytestmark = pytest.mark.slow
FOLDS = [1, 2, 3, 4, 5]
NAMES = [f"{method}-{fold}" for method in ("noisy_student", "efficientnet") for fold in FOLDS]
OUTPUTS = ("data", "runs", "predictions", "ensembles", "results", "site")


@pytest.fixture(scope="module")
def origin(tmp_path_factory):
    """What is on GitHub: code and parameters, and nothing that has run."""
    folder = repository.create(tmp_path_factory.mktemp("origin") / "repository")
    repository.change(folder, {"folds": FOLDS, "split": {"folds": len(FOLDS)}})
    repository.run(folder, "git", "commit", "--quiet", "--all", "--message", "five folds")
    return folder


@pytest.fixture(scope="module")
def clone(origin):
    """Make a clone: what actions/checkout leaves on a runner."""

    def make(name):
        folder = origin.parent / name
        repository.run(origin.parent, "git", "clone", "--quiet", "--no-hardlinks", origin, folder)
        return folder

    return make


@pytest.fixture(scope="module")
def gathered(clone, tmp_path_factory):
    """The last clone of a run with another learning rate, and what its script said."""
    variables = {"DVC_REMOTE": str(tmp_path_factory.mktemp("remote")), "OVERRIDES": "train.learning_rate=0.002"}
    told = tmp_path_factory.mktemp("output") / "github_output"
    script(clone("inputs"), "inputs", **variables, GITHUB_OUTPUT=str(told))
    assert json.loads(told.read_text().removeprefix("folds=")) == NAMES
    for name in NAMES:
        said = repository.stages_run(script(clone(name), "fold", name, **variables).stdout)
        assert said == [f"train@{name}", f"predict@{name}"]
    folder = clone("gather")
    return folder, script(folder, "gather", **variables).stdout, variables


def test_gathering_trains_nothing_and_gives_the_bytes_of_a_single_run(gathered, clone):
    folder, said, _ = gathered
    assert repository.stages_run(said) == [
        "ensemble@efficientnet", "ensemble@noisy_student", "evaluate", "explain", "report",
    ]  # fmt: skip
    single = clone("single")
    repository.run(single, "dvc", "exp", "run", "-S", "train.learning_rate=0.002")
    assert repository.digests(folder, *OUTPUTS) == repository.digests(single, *OUTPUTS)
    assert len(repository.digests(folder, "runs")) > 2 * 2 * len(FOLDS)


def test_the_result_becomes_a_branch_that_a_clean_clone_pulls(gathered, origin, tmp_path):
    folder, _, variables = gathered
    script(folder, "keep", **variables, RUN_ID="17")
    other = tmp_path / "reader"
    repository.run(tmp_path, "git", "clone", "--quiet", "--branch", "results/17", origin, other)
    assert "train.learning_rate=0.002" in repository.run(other, "git", "log", "-1").stdout
    repository.run(other, "dvc", "remote", "add", "--local", "--default", "shared", variables["DVC_REMOTE"])
    repository.run(other, "dvc", "pull")
    assert repository.stages_run(repository.run(other, "dvc", "repro").stdout) == []
    assert repository.digests(other, *OUTPUTS) == repository.digests(folder, *OUTPUTS)
    script(other, "current")


def test_a_fold_that_nobody_trained_is_an_error(gathered, clone):
    _, _, variables = gathered
    failed = script(
        clone("early"), "gather", check=False, **variables | {"OVERRIDES": "train.learning_rate=0.003 folds=[1]"}
    )
    assert failed.returncode == 1
    assert "these folds were not in the remote" in failed.stdout


def test_a_wrong_override_stops_the_first_job(clone, tmp_path):
    variables = {"DVC_REMOTE": str(tmp_path)}
    for overrides, expected in (("train.epohs=3", "epohs"), ("train.epochs=many", "train.epochs")):
        failed = script(clone(f"wrong-{expected}"), "inputs", check=False, **variables, OVERRIDES=overrides)
        assert failed.returncode != 0
        assert expected in failed.stdout
        assert "Traceback" not in failed.stdout
    assert list(tmp_path.iterdir()) == []
