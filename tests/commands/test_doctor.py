import errno
import hashlib
import json
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import save_file

from job.commands import doctor, setup
from job.errors import UserError
from job.models import weights
from job.stages import check
from tests import ROOT
from tests.pipeline import repository
from tests.training.test_runtime import old_driver

GIB = 2**30


@pytest.fixture
def checkout(tmp_path):
    """Parameters, lock and DVC in a Git work tree; no code."""
    for name in ("params.yaml", "requirements.lock", ".dvc/config"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    repository.run(tmp_path, "git", "init", "--quiet")
    return tmp_path


def diagnose(folder, monkeypatch, capsys):
    """Findings by name, as state and text, and the exit code of the command."""
    from job.__main__ import main  # noqa: PLC0415

    monkeypatch.chdir(folder)
    code = main(["doctor"])
    lines = re.sub(r"\n {19}", " ", capsys.readouterr().out).splitlines()
    found = {line[7:18].strip(): (line[:6].strip(), line[19:]) for line in lines if line != "ready"}
    return found, code


def test_a_ready_machine(checkout, monkeypatch, capsys):
    found, code = diagnose(checkout, monkeypatch, capsys)
    assert code == 0
    assert {
        "Python",
        "repository",
        "memory",
        "disk",
        "time",
        "packages",
        "device",
        "data",
        "weights",
        "DVC remote",
    } <= found.keys()
    assert "wrong" not in {state for state, _ in found.values()}


@pytest.mark.parametrize("there", [["HOME"], ["USER"], []])
def test_a_number_without_a_home_folder_or_a_name_is_told_what_to_set(monkeypatch, there):
    """As `docker run --user 12345` or a scheduler may start us: every DVC command would stop."""

    def nobody(_number):
        raise KeyError

    monkeypatch.setattr("pwd.getpwuid", nobody)
    for name in ("HOME", "USER", "LOGNAME", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    for name in there:
        monkeypatch.setenv(name, "/tmp")
    assert doctor.home()[::2] == ("wrong", "export HOME=/a/folder/of/yours USER=anybody")
    monkeypatch.setenv("HOME", "/tmp")
    monkeypatch.setenv("USER", "anybody")
    assert doctor.home() == ("ok", "/tmp, of anybody", "")


@pytest.mark.parametrize(
    ("section", "key", "value", "name", "parts"),
    [
        ("data", "root", "/nowhere/at/all", "data", ["/nowhere/at/all does not exist", "data/raw/demo"]),
        ("train", "device", "cuda", "device", ["--gpus all", "train.device=auto"]),
        ("train", "epochs", "many", "parameters", ["train.epochs", "params.yaml"]),
    ],
)
def test_what_is_wrong_is_named_with_its_remedy(checkout, monkeypatch, capsys, section, key, value, name, parts):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    repository.change(checkout, {section: {key: value}})
    found, code = diagnose(checkout, monkeypatch, capsys)
    assert code == 2
    state, text = found[name]
    assert state == "wrong"
    assert all(part in text for part in parts)
    assert [other for other, (state, _) in found.items() if state == "wrong"] == [name]


@pytest.mark.parametrize("tracked", ["data/raw/cells.dvc", "data/raw.dvc", "data.dvc"])
def test_a_folder_that_dvc_has_yet_to_fetch_is_no_mistake(checkout, monkeypatch, capsys, tracked):
    """As in a fresh clone, where the stage `check` runs before anything is pulled."""
    repository.change(checkout, {"data": {"root": "data/raw/cells"}})
    assert diagnose(checkout, monkeypatch, capsys)[1] == 2
    with pytest.raises(UserError, match=r"data\.root: .*data/raw/cells does not exist"):
        check.run()
    (checkout / tracked).parent.mkdir(parents=True, exist_ok=True)
    (checkout / tracked).touch()
    found, code = diagnose(checkout, monkeypatch, capsys)
    assert (code, found["data"][0]) == (0, "note")
    assert "data/raw/cells is not fetched yet dvc pull fetches it" in found["data"][1]
    assert check.run() == "params.yaml is valid"
    (checkout / "data/raw").mkdir(parents=True, exist_ok=True)
    (checkout / "data/raw/cells").touch()
    assert diagnose(checkout, monkeypatch, capsys)[1] == 2, "a file in the place of the folder"


@pytest.mark.parametrize(
    ("backbone", "state", "part"),
    [
        ("efficientnet-lite0", "ok", "efficientnet-lite0-57934424.pth of efficientnet-lite0"),
        ("efficientnet-lite2", "ok", ".pth of efficientnet-lite2"),
        ("efficientnet-b3", "note", "those of efficientnet-b3 are not on this machine"),
        ("torchvision/resnet50", "note", "WEIGHTS=torchvision/resnet50"),
    ],
)
def test_weights_are_looked_for_where_training_takes_them(
    checkout, monkeypatch, capsys, tmp_path, backbone, state, part
):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    repository.change(checkout, {"model": {"backbone": backbone}, "methods": ["efficientnet"]})
    found, code = diagnose(checkout, monkeypatch, capsys)
    assert (code, found["weights"][0]) == (0, state)
    assert part in found["weights"][1]
    if state == "note":
        weights.location(backbone).parent.mkdir(parents=True)
        weights.location(backbone).touch()
        assert diagnose(checkout, monkeypatch, capsys)[0]["weights"][0] == "ok"


def test_weights_of_students_count_where_there_are_any(checkout, monkeypatch, capsys, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    repository.change(checkout, {"noisy_student": {"backbone": "efficientnet-b3"}})
    assert "efficientnet-b3" in diagnose(checkout, monkeypatch, capsys)[0]["weights"][1]


def test_a_weights_file_is_there_and_the_one_that_was_meant(checkout, monkeypatch, capsys):
    save_file({"layer": torch.zeros(1)}, checkout / "mine.safetensors")
    digest = hashlib.sha256((checkout / "mine.safetensors").read_bytes()).hexdigest()
    for name, sha256, code, part in (
        ("mine.safetensors", digest, 0, "mine.safetensors"),
        ("mine.safetensors", "0" * 64, 2, f"its SHA-256 is {digest}"),
        ("other.safetensors", digest, 2, "other.safetensors does not exist"),
    ):
        repository.change(checkout, {"model": {"weights": name, "weights_sha256": sha256}})
        found, ended = diagnose(checkout, monkeypatch, capsys)
        assert ended == code
        assert found["weights"][0] == ("wrong" if code else "ok")
        assert part in found["weights"][1]


def test_a_remote_that_cannot_be_reached(checkout, monkeypatch, capsys, tmp_path):
    repository.run(checkout, "dvc", "remote", "add", "--default", "lab", "/nowhere/at/all")
    found, code = diagnose(checkout, monkeypatch, capsys)
    assert (code, found["DVC remote"][0]) == (2, "wrong")
    assert "lab does not answer" in found["DVC remote"][1]
    assert "dvc remote modify" in found["DVC remote"][1]
    repository.run(checkout, "dvc", "remote", "modify", "lab", "url", str(tmp_path / "new"))
    assert diagnose(checkout, monkeypatch, capsys)[0]["DVC remote"] == ("ok", "lab answers")


@pytest.mark.parametrize("kind", ["read", "write"])
def test_a_lock_of_a_killed_container_is_recognised(checkout, monkeypatch, capsys, kind):
    """Its process has a small number, which another program has here, or none, or the next container's DVC itself."""
    held = checkout / ".dvc/tmp/rwlock"
    held.parent.mkdir()
    with subprocess.Popen(["sleep", "60"]) as other, subprocess.Popen(["bash", "-c", "exec -a dvc sleep 60"]) as dvc:
        time.sleep(0.2)
        absent = next(number for number in range(2, 300) if not Path(f"/proc/{number}").exists())
        for number, code, state in (
            (other.pid, 2, "wrong"), (absent, 2, "wrong"), (dvc.pid, 0, "ok"), (2**22 + 1, 0, "ok"),
        ):  # fmt: skip
            entry = {"pid": number, "cmd": "/opt/venv/bin/dvc repro"}
            held.write_text(json.dumps({kind: {"/job/data": [entry] if kind == "read" else entry}}))
            found, ended = diagnose(checkout, monkeypatch, capsys)
            assert (found["locks"][0], ended) == (state, code), found["locks"]
            assert ("rm .dvc/tmp/rwlock" in found["locks"][1]) == (state == "wrong")
        other.kill()
        dvc.kill()


def test_a_list_of_locks_that_a_killed_dvc_left_half_written_is_named(checkout, monkeypatch, capsys):
    held = checkout / ".dvc/tmp/rwlock"
    held.parent.mkdir()
    held.touch()
    found, code = diagnose(checkout, monkeypatch, capsys)
    assert (code, found["locks"][0]) == (2, "wrong")
    assert "rm .dvc/tmp/rwlock" in found["locks"][1]


def test_a_file_system_without_locks_is_named(checkout, monkeypatch, capsys):
    def refuse(*_):
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr("fcntl.flock", refuse)
    found, code = diagnose(checkout, monkeypatch, capsys)
    assert (code, found["locks"][0]) == (0, "note")
    assert "core.hardlink_lock true" in found["locks"][1]


def test_a_folder_outside_git(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    found, code = diagnose(tmp_path, monkeypatch, capsys)
    assert code == 2
    assert "safe.directory" in found["repository"][1]


def diagnose_bare(folder, before=""):
    """The command in an interpreter without packages, which `-S` hides."""
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); {before}from job.__main__ import main; main(['doctor'])"
    command = [sys.executable, "-I", "-S", "-c", code]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout


def test_time_and_disk_are_told_before_anything_is_installed(checkout):
    text = diagnose_bare(checkout)
    for part in (
        "GiB available", "7 of them packages", "about 5 minutes", "of 7 GiB, or of 2 GiB with CPU=1",
        "make report installs them", "make report CPU=1", "device",
    ):  # fmt: skip
        assert part in text
    assert "params.yaml" not in text
    assert text.endswith("ready to install: make report\n")


def test_an_old_python_is_all_that_is_told(checkout):
    text = diagnose_bare(checkout, "sys.version_info = (3, 10, 13); ")
    assert "make PYTHON=python3.12" in text
    assert text.count("\n") == 2, text


@pytest.mark.parametrize(
    ("finding", "state", "part"),
    [
        (doctor.memory(1 * GIB), "wrong", "needs 1.5 GiB"),
        (doctor.memory(10_000 * GIB), "ok", "cores"),
        (doctor.disk(1 * GIB, installed=True), "wrong", "free some space"),
        (doctor.disk(5 * GIB, installed=True), "ok", "the demo needs 2 GiB"),
        (doctor.disk(3 * GIB, installed=False), "wrong", "the demo needs 9 GiB (7 of them packages; 4 GiB with CPU=1)"),
        (doctor.disk(5 * GIB, installed=False), "note", "make report CPU=1"),
        (doctor.disk(10 * GIB, installed=False), "ok", "10.0 GiB free"),
    ],
)
def test_limits(finding, state, part):
    assert finding.state == state
    assert part in f"{finding.text} {finding.remedy}"


def test_what_a_container_keeps_of_files_counts_as_available(tmp_path):
    """After an installation that is most of its memory."""
    (tmp_path / "memory.max").write_text("800\n")
    (tmp_path / "memory.current").write_text("790\n")
    (tmp_path / "memory.stat").write_text("anon 60\ninactive_file 700\nactive_file 30\n")
    assert doctor.available_memory(tmp_path) == 800 - 790 + 700


def test_several_gpus_with_little_shared_memory(checkout, monkeypatch, capsys):
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    card = SimpleNamespace(name="A card", total_memory=80 * GIB)
    monkeypatch.setattr("torch.cuda.get_device_properties", lambda _: card)
    monkeypatch.setattr(setup, "gpus", lambda: ["580.1", "580.1"])
    monkeypatch.setattr("torch.cuda.get_device_capability", lambda: (9, 0))
    usage = shutil.disk_usage
    for free, state in ((GIB / 16, "note"), (4 * GIB, "ok")):
        monkeypatch.setattr(
            shutil,
            "disk_usage",
            lambda path, free=free: SimpleNamespace(free=free) if path == "/dev/shm" else usage(path),
        )
        found, _ = diagnose(checkout, monkeypatch, capsys)
        assert found["device"][0] == state
        assert "2 x A card, 80 GiB, driver 580.1" in found["device"][1]
        assert ("--shm-size" in found["device"][1]) == (state == "note")


def test_a_gpu_that_torch_cannot_use_is_wrong(checkout, monkeypatch, capsys, tmp_path):
    pattern = old_driver(monkeypatch, tmp_path)
    monkeypatch.setattr(setup, "gpus", lambda: ["535.2"])
    found, code = diagnose(checkout, monkeypatch, capsys)
    assert (code, found["device"][0]) == (2, "wrong")
    assert re.search(pattern + ".*the driver is 535.2; or set train.device=cpu", found["device"][1])
    repository.change(checkout, {"train": {"device": "cpu"}})
    assert diagnose(checkout, monkeypatch, capsys)[0]["device"][0] == "ok"


def test_versions_are_compared_with_every_pin_of_a_package(monkeypatch):
    lock = (
        "one==1.0 \\\n    --hash=sha256:0\ntwo==2.0 ; python_version < '3.12' \\\ntwo==2.1 ; python_version >= '3.12'\n"
    )
    monkeypatch.setattr(doctor, "version", {"one": "1.0+cpu", "two": "2.1"}.get)
    assert doctor.other_than_locked(lock) == []
    monkeypatch.setattr(doctor, "version", {"one": "1.1", "two": "2.2"}.get)
    assert doctor.other_than_locked(lock) == ["one 1.1", "two 2.2"]
