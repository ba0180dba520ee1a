"""Targets that no other test runs."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile

import pytest
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
    made = [*outputs(), ".state/efficientnet-1", "logs/efficientnet-1.csv", ".venv/installed"]
    mine = ["data/mine.csv", "data/mine.json", "data/raw/mine/1.bmp", "results/summary.json", "results/mine.csv",
            "predictions/mine.csv", "params.yaml", ".work/study/repository/.git/HEAD"]  # fmt: skip
    assert len(made) > 15
    for name in [*made, *mine]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    subprocess.run(["make", "--silent", "clean"], cwd=tmp_path, check=True)
    assert [name for name in made if (tmp_path / name).exists()] == []
    assert [name for name in mine if not (tmp_path / name).exists()] == []
    assert not (tmp_path / ".state").exists()


def test_the_container_installs_nothing(tmp_path):
    shutil.copy(ROOT / "Makefile", tmp_path)
    said = subprocess.check_output(["make", "--dry-run", "lint", "JOB_VENV=/opt/venv"], cwd=tmp_path, text=True)
    assert "venv" not in said
    assert "ruff check" in said


def test_make_alone_lists_every_target_in_three_groups():
    shown = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert re.findall(r"^\w+$", shown, flags=re.MULTILINE) == ["Start", "Develop", "Measure"]
    targets = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)[1].split()
    assert sorted([*re.findall(r"^  make (\S+) ", shown, flags=re.MULTILINE), "help"]) == sorted(targets)


LOCKS = ("requirements.lock", "requirements-dev.lock")


@pytest.mark.parametrize("name", LOCKS)
def test_renovate_finds_the_locks_and_how_they_are_made(name):
    """Its manager pip-compile takes the command from the head, by this expression, and refuses other options."""
    lock = (ROOT / name).read_text()
    found = re.match(r"^(?:#.*?\r?\n)+# {4}(?P<command>\S*)(?P<arguments> .*?)?\r?\n", lock)
    words = f"{found['command']}{found['arguments']}".split()
    known = {"--universal", "--generate-hashes", "--group", "--python-version", "--output-file"}
    assert {word.split("=")[0] for word in words if word.startswith("-")} <= known
    assert "://" not in "".join(line for line in lock.splitlines() if line.startswith("#"))
    for more in ([], ["--upgrade"]):
        command = ["make", "--dry-run", "--silent", "lock", *(["UPGRADE=1"] if more else [])]
        said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
        assert [*words, *more] in [line.split() for line in said.splitlines()]
    [pattern] = json.loads((ROOT / ".github/renovate.json").read_text())["pip-compile"]["managerFilePatterns"]
    assert re.search(pattern.strip("/"), name)


def test_developers_have_the_versions_of_everybody():
    pins = [set(re.findall(r"^[\w.-]+==[^ ]+", (ROOT / name).read_text(), flags=re.MULTILINE)) for name in LOCKS]
    assert pins[0] < pins[1]


def wheel(folder, name, version, requires=()):
    """A package with nothing in it; its requirement with its hash, as a lock names it."""
    path = folder / f"{name.replace('-', '_')}-{version}-py3-none-any.whl"
    information = f"{name.replace('-', '_')}-{version}.dist-info"
    needs = "".join(f"Requires-Dist: {one}\n" for one in requires)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{information}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needs}")
        archive.writestr(f"{information}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{information}/RECORD", "")
    return f"{name}=={version} \\\n    --hash=sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}\n"


@pytest.mark.parametrize("locked", ["stated", "right", "wrong"])
def test_without_a_gpu_torch_comes_without_cuda_and_the_rest_as_locked(tmp_path, locked):
    """From an index of empty packages: the one that has the real ones is not asked."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    (tmp_path / "index").mkdir()
    nowhere = f"    --hash=sha256:{'0' * 64}\n    # via torch\n"
    lock = "# made by\n" + wheel(tmp_path / "index", "plain", "1.0", ["torch"])
    for line in ("cuda-toolkit==13.0 ; sys_platform == 'linux'", "nvidia-cublas==13.1", "torch==2.1", "triton==3.8"):
        lock += f"{line} \\\n{nowhere}"
    lock += wheel(tmp_path / "index", "torchmetrics", "1.0") + f"torchvision==0.2 \\\n{nowhere}"
    for name in LOCKS:
        (tmp_path / name).write_text(lock)
    hashes = ""
    for name, version, requires in (("torch", "2.1+cpu", ["plain"]), ("torchvision", "0.2+cpu", ["torch==2.1"])):
        hashes += wheel(tmp_path / "index", name, version, requires)
        file, sha256 = f"{name}-{version}-py3-none-any.whl", hashes[-65:-1]
        (tmp_path / "index" / name).mkdir()
        link = f'<a href="../{file.replace("+", "%2B")}#sha256={sha256}">{file}</a>'
        (tmp_path / "index" / name / "index.html").write_text(f"<!DOCTYPE html><html><body>{link}</body></html>")
    if locked != "stated":
        digits = hashes if locked == "right" else re.sub(r"sha256:\w+", f"sha256:{'0' * 64}", hashes)
        (tmp_path / "requirements-cpu.lock").write_text(digits)
    index = (tmp_path / "index").as_uri()
    done = subprocess.run(
        ["make", ".venv/installed", "CPU=1", f"CPU_INDEX={index}", f"PYTHON={sys.executable}"], cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "PIP_CONFIG_FILE": os.devnull, "PIP_INDEX_URL": index,
             "PIP_FIND_LINKS": index.removeprefix("file://")},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if locked == "wrong":
        assert done.returncode != 0
        assert "THESE PACKAGES DO NOT MATCH THE HASHES" in done.stderr
        assert not (tmp_path / ".venv/installed").exists()
        return
    assert done.returncode == 0, done.stderr
    listed = json.loads(subprocess.check_output([tmp_path / ".venv/bin/python", "-m", "pip", "list", "--format=json"]))
    packages = {one["name"]: one["version"] for one in listed}
    assert packages.keys() - {"pip", "setuptools"} == {"plain", "torch", "torchmetrics", "torchvision"}
    assert (packages["torch"], packages["torchvision"]) == ("2.1+cpu", "0.2+cpu")
    # A lock that changes brings no CUDA into it.
    said = subprocess.check_output(["make", "--dry-run", "--always-make", ".venv/installed"], cwd=tmp_path, text=True)
    assert "without CUDA" in said


def test_cuda_alone_is_left_out():
    """By the names in the lock: what else only torch needs, it needs on a CPU as well."""
    [rule] = re.findall(r"\{cuda = /\^\((.*)\)==/\}", (ROOT / "Makefile").read_text())
    names = re.findall(r"^([\w.-]+)==", (ROOT / "requirements.lock").read_text(), flags=re.MULTILINE)
    left_out = {name for name in names if re.fullmatch(rule, name)}
    assert {"torch", "torchvision", "triton", "cuda-bindings", "nvidia-cublas"} <= left_out
    assert not {name for name in names if "cu1" in name or "cuda" in name} - left_out
