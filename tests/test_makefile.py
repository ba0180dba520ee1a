"""Targets that no other test runs."""

import json
import re
import shutil
import subprocess

from ruamel.yaml import YAML

from tests import ROOT

STAGES = YAML(typ="safe").load(ROOT / "dvc.yaml")["stages"].values()


def outputs():
    """What the stages write and Git does not track."""
    for stage in STAGES:
        for entry in [*stage.get("outs", []), *stage.get("plots", [])]:
            path = entry if isinstance(entry, str) else next(iter(entry))
            path = path.replace("${item.method}", "efficientnet").replace("${item.fold}", "1")
            yield path if "." in path else f"{path}/something"


def test_clean_removes_what_the_pipeline_made_and_nothing_of_the_users(tmp_path):
    shutil.copy(ROOT / "Makefile", tmp_path)
    made = [*outputs(), ".state/efficientnet-1", ".work/page.png", "logs/efficientnet-1.csv", ".venv/installed"]
    mine = ["data/mine.csv", "data/mine.json", "data/raw/mine/1.bmp", "results/summary.json", "results/mine.csv",
            "predictions/mine.csv", "params.yaml"]  # fmt: skip
    assert len(made) > 15
    for name in [*made, *mine]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    subprocess.run(["make", "--silent", "clean"], cwd=tmp_path, check=True)
    assert [name for name in made if (tmp_path / name).exists()] == []
    assert [name for name in mine if not (tmp_path / name).exists()] == []
    assert not (tmp_path / ".state").exists()


def test_make_alone_lists_every_target_in_three_groups():
    shown = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert re.findall(r"^\w+$", shown, flags=re.MULTILINE) == ["Start", "Develop", "Measure"]
    targets = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)[1].split()
    assert sorted([*re.findall(r"^  make (\S+) ", shown, flags=re.MULTILINE), "help"]) == sorted(targets)


def test_renovate_finds_the_lock_and_how_it_is_made():
    """Its manager pip-compile takes the command from the head, by this expression, and refuses other options."""
    lock = (ROOT / "requirements.lock").read_text()
    found = re.match(r"^(?:#.*?\r?\n)+# {4}(?P<command>\S*)(?P<arguments> .*?)?\r?\n", lock)
    words = f"{found['command']}{found['arguments']}".split()
    known = {"--universal", "--generate-hashes", "--group", "--python-version", "--output-file"}
    assert {word.split("=")[0] for word in words if word.startswith("-")} == known
    assert "://" not in "".join(line for line in lock.splitlines() if line.startswith("#"))
    for more in ([], ["--upgrade"]):
        command = ["make", "--dry-run", "--silent", "lock", *(["UPGRADE=1"] if more else [])]
        said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
        assert said.replace("\\\n", " ").split() == [*words, *more]
    [pattern] = json.loads((ROOT / ".github/renovate.json").read_text())["pip-compile"]["managerFilePatterns"]
    assert re.search(pattern.strip("/"), "requirements.lock")
