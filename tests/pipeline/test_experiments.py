"""What docs/experiments.md shows: a sweep in the queue, what was tried, what one changed, and taking it over."""

import csv
import io
import json
import re

import pytest
from ruamel.yaml import YAML

from tests.pipeline import repository

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def repo(tmp_path_factory):
    """A result of one method, committed, and a sweep over two learning rates that the queue has worked off."""
    folder = repository.create(tmp_path_factory.mktemp("experiments") / "repository")
    repository.lend_environment(folder)
    repository.change(folder, {"methods": ["efficientnet"]})
    repository.run(folder, "dvc", "repro")
    repository.run(folder, "git", "add", "--all")
    repository.run(folder, "git", "commit", "--quiet", "--message", "result")
    before = repository.digests(folder, "runs", "results", "site")
    repository.run(folder, "dvc", "exp", "run", "--queue", "--set-param", "train.learning_rate=0.002,0.004")
    waiting = repository.run(folder, "dvc", "queue", "status").stdout
    assert waiting.count("Queued") == 2
    repository.run(folder, "dvc", "exp", "run", "--run-all")
    assert repository.run(folder, "git", "status", "--porcelain").stdout == ""
    assert repository.digests(folder, "runs", "results", "site") == before, "the queue touches nothing here"
    yield folder
    # A worker that meets a message half-written loses the thread that would end it (DVC 3.67).
    repository.run(folder, "dvc", "queue", "stop")


def shown(repo):
    """Rows of `dvc exp show` by the learning rate of each experiment."""
    text = repository.run(repo, "dvc", "exp", "show", "--csv").stdout
    rows = [row for row in csv.DictReader(io.StringIO(text)) if row["typ"] != "baseline"]
    return {row["train.learning_rate"]: row for row in rows if row["rev"] != "workspace"}


def test_a_sweep_keeps_parameters_and_figures_of_each_of_its_experiments(repo):
    rows = shown(repo)
    assert rows.keys() == {"0.002", "0.004"}
    figures = [row["efficientnet.mean.auroc"] for row in rows.values()]
    assert all(0 <= float(figure) <= 1 for figure in figures)
    assert len(set(figures)) == 2, "two learning rates, two networks"


def test_what_was_tried_is_a_table_of_few_columns(repo):
    said = repository.run(repo, "make", "experiments").stdout
    [header] = [line for line in said.splitlines() if "Experiment" in line]
    assert header.split() == [
        "Experiment", "Created", "efficientnet.majority.balanced_accuracy", "efficientnet.mean.auroc",
        "train.learning_rate",
    ]  # fmt: skip
    assert all(len(line) < 140 for line in said.splitlines())
    assert len(re.findall(r"(?:├──|└──) [0-9a-f]{7} \[[\w-]+\]", said)) == 2


def test_the_page_of_experiments_lists_the_same(repo):
    repository.run(repo, "python", "-m", "job", "site")
    page = (repo / "site/moment.html").read_text()
    for row in shown(repo).values():
        assert row["Experiment"] in page
        assert f"{float(row['efficientnet.mean.auroc']):.3f}" in page


def test_what_one_changed_and_taking_it_over(repo):
    row = shown(repo)["0.004"]
    name = row["Experiment"]
    changes = json.loads(repository.run(repo, "dvc", "exp", "diff", "--json", "HEAD", name).stdout)
    assert changes["params"]["params.yaml"]["train.learning_rate"] == {"old": 0.001, "new": 0.004, "diff": 0.003}
    figure = changes["metrics"]["results/summary.json"]["efficientnet.mean.auroc"]
    assert figure["new"] == pytest.approx(float(row["efficientnet.mean.auroc"]), abs=1e-5)
    plots = json.loads(repository.run(repo, "dvc", "plots", "diff", "--json", "HEAD", name).stdout)
    (plot,) = plots["data"]["results/history.csv"]
    assert {(line["rev"], line["fold"]) for line in plot["content"]["data"]["values"]} >= {(name, "1"), ("HEAD", "2")}
    repository.run(repo, "dvc", "exp", "apply", name)
    assert YAML(typ="safe").load(repo / "params.yaml")["train"]["learning_rate"] == 0.004
    summary = json.loads((repo / "results/summary.json").read_text())
    assert summary["efficientnet"]["mean"]["auroc"] == figure["new"]
    assert repository.stages_run(repository.run(repo, "dvc", "repro").stdout) == []
    repository.run(repo, "git", "checkout", "--quiet", ".")
    repository.run(repo, "dvc", "checkout")
