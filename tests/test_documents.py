"""The commands of README and CONTRIBUTING, run in the order in which they are written, on a small demo."""

import re
import subprocess

import pytest

from tests import ROOT
from tests.pipeline import repository

DOCUMENTS = ("README.md", "CONTRIBUTING.md")
NOT_HERE = {"data", "docker", "gpu"}
# Targets that run this test, or hours: that they exist and what they would run is checked.
DRY = r"make (test|test-all|bench|chaos|ablation|lint)\b"


def blocks(document):
    """Shell blocks of a document: the word that marks what they need, or none, and their text."""
    return re.findall(
        r"^```sh ?(\w*)\n(.*?)^```", (ROOT / document).read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    )


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_block_is_a_shell_text(document):
    assert blocks(document)
    for mark, text in blocks(document):
        assert mark in {"", *NOT_HERE}
        checked = subprocess.run(["bash", "-n"], input=text, capture_output=True, text=True, check=False)
        assert checked.returncode == 0, f"{text}\n{checked.stderr}"


def go_on(folder, text):
    """Before the next block a reader goes back from an experiment, as the README says, and commits anything else."""
    if "dvc exp run" in text:
        repository.run(folder, "git", "checkout", ".")
        repository.run(folder, "dvc", "checkout")
    else:
        repository.run(folder, "git", "add", "--all")
        repository.run(folder, "git", "commit", "--quiet", "--allow-empty", "--message", "as a reader would")


@pytest.mark.slow
@pytest.mark.xdist_group("documents")
def test_every_command_runs(tmp_path):
    folder = repository.create(tmp_path / "repository")
    repository.lend_environment(folder)
    for document in DOCUMENTS:
        for mark, text in blocks(document):
            if not mark:
                script = re.sub(DRY, r"make --dry-run \1", text)
                done = repository.run(folder, "bash", "-euo", "pipefail", "-c", script, check=False)
                assert done.returncode == 0, f"{document}:\n{text}\n{done.stdout[-3000:]}"
                go_on(folder, text)
    repository.run(folder, "dvc", "queue", "stop")
    scores = (folder / "scores.csv").read_text().splitlines()
    assert len(scores) == 1 + repository.SMALL["demo"]["unlabelled"]
