import json
import os
import re
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from job.commands import serve, site
from job.errors import UserError
from tests.fixtures.run_tree import REPOSITORY

from .rendered import read_page


def git(*arguments: str) -> str:
    identity = ["-c", "user.name=test", "-c", "user.email=test@example.org"]
    return subprocess.run(["git", *identity, *arguments], check=True, capture_output=True, text=True).stdout.strip()


def provenance(root) -> str:
    return re.sub(r"\s+", " ", read_page(root / "site" / "provenance.html").visible)


def test_site_adds_commit_versions_and_times(tree):
    git("init", "-q")
    git("add", "params.yaml")
    git("commit", "-qm", "one")
    logs = tree / "logs" / "efficientnet"
    logs.mkdir(parents=True)
    for fold in (2, 10):
        (logs / f"fold-{fold}.json").write_text(
            json.dumps({"seconds": 12.345, "images_per_second": 98.76, "device": "cpu"})
        )
    before = {p.name: p.read_bytes() for p in (tree / "site").glob("*.html") if p.name != "provenance.html"}
    assert site.run() == f"The report is ready: {Path.cwd() / 'site/index.html'}"
    shown = provenance(tree)
    assert git("rev-parse", "HEAD") in shown
    assert "uncommitted" not in shown
    times = [
        row
        for table in read_page(tree / "site" / "provenance.html").tables
        for row in table
        if row[0] == "EfficientNet"
    ]
    assert times == [["EfficientNet", "2", "cpu", "12.3", "98.8"], ["EfficientNet", "10", "cpu", "12.3", "98.8"]]
    assert "scikit-learn" in shown
    assert "train.learning_rate" in shown
    assert {p.name: p.read_bytes() for p in (tree / "site").glob("*.html") if p.name != "provenance.html"} == before
    (tree / "params.yaml").write_text((tree / "params.yaml").read_text() + "\n")
    site.run()
    assert "with uncommitted changes" in provenance(tree)


def test_site_works_without_repository_and_logs(tree, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tree.parent))
    site.run()
    assert "not in a Git repository" in provenance(tree)


def test_site_and_serve_ask_for_a_report_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="dvc repro report"):
        site.run()
    with pytest.raises(UserError, match="make report"):
        serve.run(0)


def test_serve_answers_on_localhost_only_from_the_site(tree):
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    code = "from job.commands import serve; serve.run(0)"
    command = [sys.executable, "-c", code]
    quiet = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True}
    with subprocess.Popen(command, env=environment, **quiet) as process:
        address = re.search(r"http://127\.0\.0\.1:\d+/", process.stdout.readline())[0]
        with urllib.request.urlopen(address) as answer:
            assert answer.read() == (tree / "site" / "index.html").read_bytes()
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(address + "params.yaml")
        process.terminate()
