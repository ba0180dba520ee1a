import json
import os
import re
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pandas as pd
import pytest

from job.commands import compare, serve, site
from job.errors import UserError
from tests.fixtures.run_tree import REPOSITORY

from .rendered import read_page
from .test_site import evaluation


def git(*arguments: str) -> str:
    identity = ["-c", "user.name=test", "-c", "user.email=test@example.org"]
    return subprocess.run(["git", *identity, *arguments], check=True, capture_output=True, text=True).stdout.strip()


def moment(root) -> str:
    return re.sub(r"\s+", " ", read_page(root / "site" / "moment.html").visible)


def broken(site) -> set[str]:
    """Links of a site that lead to no file of it, or to no place on a page."""
    pages = {path.name: read_page(path) for path in site.glob("*.html")}
    found = set()
    for name, page in pages.items():
        for tag, attributes in page.tags:
            link = attributes.get("href") or attributes.get("src") if tag in {"a", "link", "script", "img"} else None
            if not link:
                continue
            file, _, place = link.partition("#")
            target = pages.get(file or name)
            ids = {attributes.get("id") for _, attributes in target.tags} if target else set()
            if not (site / (file or name)).is_file() or (place and place not in ids):
                found.add(f"{name}: {link}")
    return found


def test_site_adds_commit_versions_and_times_and_changes_no_page(tree):
    git("init", "-q")
    git("add", "params.yaml")
    git("commit", "-qm", "one")
    logs = tree / "logs" / "efficientnet"
    logs.mkdir(parents=True)
    for fold in (2, 5, 10):  # no fold 10 was evaluated: its log is of another run
        (logs / f"fold-{fold}.json").write_text(
            json.dumps({"seconds": 12.345, "images_per_second": 98.76, "device": "cpu"})
        )
    added = {"moment.html", "added.js"}  # DVC leaves these out of the report
    assert added <= {line.removeprefix("site/") for line in (REPOSITORY / ".dvcignore").read_text().splitlines()}
    files = [path for path in (tree / "site").rglob("*") if path.is_file() and path.name not in added]
    before = {path: path.read_bytes() for path in files}
    assert site.run().endswith(f"\nThe report is ready: {Path.cwd() / 'site/index.html'}")
    shown = moment(tree)
    assert git("rev-parse", "HEAD") in shown
    assert "uncommitted" not in shown
    times = [row for table in read_page(tree / "site" / "moment.html").tables for row in table]
    assert [row for row in times if row[0] == "EfficientNet"] == [
        ["EfficientNet", "2", "cpu", "12.3", "98.8"],
        ["EfficientNet", "5", "cpu", "12.3", "98.8"],
    ]
    assert "scikit-learn" in shown
    assert "Synthetic data." in shown
    assert {path: path.read_bytes() for path in before} == before
    (tree / "params.yaml").write_text((tree / "params.yaml").read_text() + "\n")
    site.run()
    assert "with uncommitted changes" in moment(tree)


def test_no_link_is_dead_in_the_cached_site_and_after_site(tree, tmp_path):
    """The first is what `dvc pull` leaves in a clone: nothing that .dvcignore names."""
    ignored = [line for line in (REPOSITORY / ".dvcignore").read_text().splitlines() if line.startswith("site/")]
    pulled = tmp_path / "clone" / "site"
    shutil.copytree(tree / "site", pulled)
    for name in ignored:
        (tmp_path / "clone" / name).unlink(missing_ok=True)
    assert broken(pulled) == set()
    pages = {path.name for path in pulled.glob("*.html")}
    site.run()
    assert broken(tree / "site") == set()
    first = {name: (tree / name).read_bytes() for name in ignored}
    assert {path.name for path in (tree / "site").glob("*.html")} == pages | {"moment.html"}
    site.run()
    assert {name: (tree / name).read_bytes() for name in ignored} == first


def test_a_dead_link_is_found(tree):
    page = tree / "site" / "performance.html"
    page.write_text(page.read_text().replace('href="data.html"', 'href="date.html"'))
    (tree / "site" / "csv" / "vote-rules.csv").unlink()
    assert broken(tree / "site") == {
        "performance.html: date.html", "performance.html: csv/vote-rules.csv", "whole.html: csv/vote-rules.csv",
    }  # fmt: skip


def test_two_revisions_are_compared_by_patient_and_not_on_two_test_sets(tree):
    files = ["params.yaml", "results/predictions.csv", "results/evaluation.json"]
    path, parameters = tree / "results" / "predictions.csv", tree / "params.yaml"
    git("init", "-q")

    def commit(name):
        git("add", *files)
        git("commit", "-qm", name)
        git("tag", name)

    commit("one")
    frame = pd.read_csv(path, dtype=str, keep_default_na=False)
    vote = (frame["model"] == "efficientnet/majority") & (frame["role"] == "test")
    frame.assign(predicted=frame["predicted"].mask(vote, frame["label"])).to_csv(path, index=False)
    parameters.write_text(parameters.read_text().replace("momentum: 0.9 ", "momentum: 0.8 "))
    commit("two")
    found = compare.run("one", "two", site_too=True)
    assert re.search(r"train\.momentum +0\.9 +0\.8\n", found)
    accuracy = re.search(r"EfficientNet: Majority vote Balanced accuracy +(.*)", found)[1].split()
    one = next(m for m in evaluation(tree)["models"] if m["model"] == "efficientnet/majority")["by_subject"]
    before = one["balanced_accuracy"]["value"]
    assert [float(accuracy[i]) for i in (0, 3, 6)] == pytest.approx([before, 1, 1 - before], abs=0.001)
    imperfect = frame[vote].groupby("subject").apply(lambda rows: (rows["predicted"] != rows["label"]).any()).sum()
    assert int(accuracy[-3]) == imperfect > 0
    assert "Both were tested on the same" in found
    assert "Both were tested on the same" in moment(tree)
    images = frame.loc[vote, "image"]
    frame[~(frame["image"] == images.iloc[0])].to_csv(path, index=False)
    commit("three")
    found = compare.run("two", "three", site_too=False)
    assert f"The test sets differ ({len(images)} and {len(images) - 1} images, {len(images) - 1} in both)" in found
    accuracy = re.search(r"EfficientNet: Majority vote Balanced accuracy +(.*)", found)[1].split()
    assert accuracy[-5:] == ["–"] * 5
    with pytest.raises(UserError, match="nowhere is neither a Git revision nor an experiment"):
        compare.run("nowhere", "one", site_too=False)
    git("rm", "-q", "--cached", "results/predictions.csv")
    git("commit", "-qm", "none")
    with pytest.raises(UserError, match=r"results/predictions\.csv of HEAD is not on this machine"):
        compare.run("HEAD", "one", site_too=False)


def test_site_works_with_the_site_alone(tree, monkeypatch):
    """As after `dvc pull report`: no results, no repository, no logs."""
    shutil.rmtree(tree / "results")
    shutil.rmtree(tree / "data")
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tree.parent))
    site.run()
    assert "not in a Git repository" in moment(tree)


def test_site_and_serve_ask_for_a_report_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="dvc repro report"):
        site.run()
    with pytest.raises(UserError, match=r"scored/index\.html does not exist: run `make report`"):
        serve.run(0, tmp_path / "scored")


def test_serve_answers_on_localhost_only_from_the_site(tree):
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    code = "from pathlib import Path; from job.commands import serve; serve.run(0, Path())"
    command = [sys.executable, "-c", code]
    quiet = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True}
    with subprocess.Popen(command, env=environment, **quiet) as process:
        address = re.search(r"http://127\.0\.0\.1:\d+/", process.stdout.readline())[0]
        with urllib.request.urlopen(address) as answer:
            assert answer.read() == (tree / "site" / "index.html").read_bytes()
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(address + "params.yaml")
        process.terminate()
