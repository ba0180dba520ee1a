"""The documents: their links, the places they name, and their commands, run in the order in which they are written."""

import ast
import re
import subprocess

import pandas as pd
import pytest

from tests import ROOT
from tests.pipeline import repository

DOCUMENTS = ("README.md", "CONTRIBUTING.md", *sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")))
PRECISIONS = ((1, 3), (1, 2), (100, 1))
NOT_HERE = {"data", "docker", "gpu"}
# Targets that run this test, or hours: that they exist and what they would run is checked.
DRY = r"make (test|test-all|bench|chaos|ablation|lint)\b"


def read(document):
    return (ROOT / document).read_text(encoding="utf-8")


def blocks(document):
    """Shell blocks of a document: the word that marks what they need, or none, and their text."""
    return re.findall(r"^```sh ?(\w*)\n(.*?)^```", read(document), re.MULTILINE | re.DOTALL)


def anchors(document):
    """Anchors of the headings of a document, as GitHub makes them."""
    for heading in re.findall(r"^#+ (.*)$", read(document), re.MULTILINE):
        yield re.sub(r"[^\w -]", "", heading).strip().lower().replace(" ", "-")


def test_every_interval_about_real_cells_stands_in_a_committed_table():
    """A slip of the hand, or a table made anew, would part them."""
    known = set()
    for file in (ROOT / "benchmarks").rglob("*.csv"):
        table = pd.read_csv(file)
        for column in table.columns[table.columns.str.contains(r"(?:\b|_)low\b")]:
            ends = table[[column, column.replace("low", "high")]].dropna().to_numpy()
            # As they are, with the sign turned, and in points.
            for pair in (*ends, *-ends[:, ::-1]):
                known |= {tuple(f"{factor * end:.{digits}f}" for end in pair) for factor, digits in PRECISIONS}
    told = read("README.md").partition("**synthetic** cells of the demo")[0], read("docs/model_card_cnmc.md")
    told += (read("docs/results.md").partition("## Real cells")[2],)
    written = [re.findall(r"\[\+?(-?\d+\.\d+), \+?(-?\d+\.\d+)\]", text) for text in told]
    assert [len(found) > 1 for found in written] == [True] * 3
    assert not [pair for found in written for pair in found if pair not in known]


def test_what_another_start_moves_is_what_the_tables_of_both_say():
    study = ROOT / "benchmarks/study"
    first, second = (
        100 * pd.read_csv(study / f"self_training_10{seed}.csv", index_col="arm")["value"] for seed in ("", "_seed_2")
    )
    moved = (second - first).dropna().abs()
    deviation = ((moved**2).mean() / 2) ** 0.5
    results = " ".join(read("docs/results.md").split())
    assert f"moves by {moved.min():.1f} to {moved.max():.1f} points: a standard deviation of {deviation:.1f}" in results
    assert f"another start moves such figures by {deviation:.0f} points" in " ".join(read("README.md").split())


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_block_is_a_shell_text(document):
    for mark, text in blocks(document):
        assert mark in {"", *NOT_HERE}
        checked = subprocess.run(["bash", "-n"], input=text, capture_output=True, text=True, check=False)
        assert checked.returncode == 0, f"{text}\n{checked.stderr}"


@pytest.mark.parametrize("document", [*DOCUMENTS, "CHANGELOG.md", "MODEL_CARD.md"])
def test_files_headings_and_targets_that_it_names_exist(document):
    for name in re.findall(r"\]\((?!https?:)([^)]+)\)", read(document)):
        path, _, anchor = name.partition("#")
        target = ((ROOT / document).parent / path).resolve() if path else ROOT / document
        assert target.exists(), name
        assert not anchor or anchor in anchors(target), name
    targets = set(re.findall(r"^([a-z-]+):", read("Makefile"), re.MULTILINE))
    for target in re.findall(r"(?:^|`)make ([a-z-]+)", read(document), re.MULTILINE):
        assert target in targets, target


def test_the_readme_is_short_and_leads_to_every_document():
    readme = read("README.md")
    assert readme.count("\n") <= 150
    rooms = {path.name for path in (ROOT / "job").iterdir() if (path / "__init__.py").is_file()}
    assert [room for room in rooms if f"`job/{room}/`" not in readme] == []
    assert [document for document in DOCUMENTS[1:] if f"]({document})" not in readme] == []


def defines(file, name):
    """Whether a module has this function, class or method."""
    nodes = ast.parse(read(file)).body if (ROOT / file).is_file() else []
    for part in name.split("."):
        node = next((node for node in nodes if getattr(node, "name", None) == part), None)
        if node is None:
            return False
        nodes = node.body
    return True


def test_every_step_of_the_walk_names_a_place_that_exists():
    places = re.findall(r"^\d+\. `(job/\S+\.py):([\w.]+)`", read("docs/architecture.md"), re.MULTILINE)
    assert len(places) > 15
    assert [f"{file}:{name}" for file, name in places if not defines(file, name)] == []


def go_on(folder, text):
    """Before the next block a reader goes back from an experiment, as a document says, and commits anything else."""
    if "dvc exp run" in text:
        repository.run(folder, "git", "checkout", ".")
        repository.run(folder, "dvc", "checkout")
    else:
        repository.run(folder, "git", "add", "--all")
        repository.run(folder, "git", "commit", "--quiet", "--allow-empty", "--message", "as a reader would")


@pytest.mark.slow
def test_every_command_runs(tmp_path):
    folder = repository.create(tmp_path / "repository")
    repository.lend_environment(folder)
    for document in DOCUMENTS:
        for mark, text in blocks(document):
            if not mark:
                # This copy is the clone.
                script = re.sub(r"^git clone .*$", "", re.sub(DRY, r"make --dry-run \1", text), flags=re.MULTILINE)
                done = repository.run(folder, "bash", "-euo", "pipefail", "-c", script, check=False)
                assert done.returncode == 0, f"{document}:\n{text}\n{done.stdout[-3000:]}"
                go_on(folder, text)
    repository.run(folder, "dvc", "queue", "stop")
    scores = (folder / "scores.csv").read_text().splitlines()
    assert len(scores) == 1 + repository.SMALL["demo"]["unlabelled"]
