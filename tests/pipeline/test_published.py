"""report.yml's two scripts, with the path that a runner has: its own Python and nothing of the repository's."""

import os
import sys
from pathlib import Path

import pytest

from tests.pipeline import repository

pytestmark = pytest.mark.slow
OUTPUTS = ("runs", "predictions", "ensembles", "results", "site")
OWN = Path(sys.prefix, "bin").resolve()
OTHERS = [part for part in os.environ["PATH"].split(os.pathsep) if Path(part).resolve() != OWN]
# What an unset variable or secret of the repository becomes is an empty text.
RUNNER = {"PATH": os.pathsep.join(OTHERS), "DVC_REMOTE": "", "DVC_REMOTE_KEY": ""}


def script(folder, *command, **variables):
    """Run one of .github/scripts as a runner does; what it said."""
    return repository.script(folder, *command, **RUNNER | variables).stdout


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """A repository without a remote, after the script; and what the script said."""
    folder = repository.create(tmp_path_factory.mktemp("demo") / "repository")
    repository.lend_environment(folder)
    return folder, script(folder, "site")


def test_without_a_remote_the_demo_is_made_and_shown(demo):
    folder, said = demo
    assert said.index("DVC remote") < said.index("Running stage"), "the preflight comes first"
    assert "train@noisy_student-2" in repository.stages_run(said)
    assert {"index.html", "moment.html"} <= {path.name for path in (folder / "site").iterdir()}


def test_with_a_remote_the_committed_result_is_fetched_and_nothing_runs(demo, tmp_path):
    folder, _ = demo
    repository.change(folder, {"report": {"title": "As committed"}})
    repository.run(folder, "dvc", "repro")
    repository.run(folder, "git", "add", "--all")
    repository.run(folder, "git", "commit", "--quiet", "--message", "result")
    remote = tmp_path / "remote"
    repository.run(folder, "dvc", "remote", "add", "--local", "--default", "lab", remote)
    repository.run(folder, "dvc", "push")
    clone = tmp_path / "clone"
    repository.run(tmp_path, "git", "clone", "--quiet", folder, clone)
    repository.lend_environment(clone)
    said = script(clone, "site", DVC_REMOTE=str(remote))
    assert "shared answers" in said, "the preflight comes first here too"
    assert repository.stages_run(said) == []
    assert "As committed" in (clone / "site/index.html").read_text()
    assert repository.digests(clone, "site") == repository.digests(folder, "site")
    commit = repository.run(clone, "git", "rev-parse", "HEAD").stdout.strip()
    assert commit[:7] in (clone / "site/moment.html").read_text()
    assert not (clone / "runs").exists()

    told = script(clone, "changes", "HEAD~1")
    assert "As committed" in told
    assert "No earlier commit" in script(clone, "changes", "0" * 40)


def test_a_result_that_is_not_in_the_remote_is_an_error(demo, tmp_path):
    folder, _ = demo
    repository.run(folder, "git", "add", "--all")
    repository.run(folder, "git", "commit", "--quiet", "--allow-empty", "--message", "result")
    clone = tmp_path / "clone"
    repository.run(tmp_path, "git", "clone", "--quiet", folder, clone)
    repository.lend_environment(clone)
    (tmp_path / "empty").mkdir()
    with pytest.raises(AssertionError, match="site"):
        script(clone, "site", DVC_REMOTE=str(tmp_path / "empty"))
    assert not (clone / "site").exists()
