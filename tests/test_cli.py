import errno
import os
import re
import subprocess
import sys
import time
from collections import deque
from pathlib import Path
from threading import Event
from types import SimpleNamespace
from unittest.mock import Mock

import pytest
import torch
from ruamel.yaml import YAML

from job import params
from job.__main__ import main
from job.commands import folds, setup
from job.contracts import paths
from job.errors import UserError
from job.files import check_cache, locked
from tests import ROOT
from tests.pipeline import repository


def job(*arguments, cwd=ROOT):
    return subprocess.run(
        [sys.executable, "-m", "job", *arguments],
        cwd=cwd,
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_help_imports_nothing_heavy():
    code = "import sys\nfrom job.__main__ import main\ntry: main(['--help'])\nexcept SystemExit: pass\n"
    heavy = "sys.exit(str([name for name in ('torch', 'pandas', 'numpy', 'dvc', 'pydantic') if name in sys.modules]))"
    result = subprocess.run([sys.executable, "-c", code + heavy], cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.stderr.strip() == "[]"
    assert {"stage", "folds"} <= set(result.stdout.split())


def test_the_stages_are_named_and_explained():
    said = job("stage", "--help").stdout
    for stage in YAML(typ="safe").load(ROOT / "dvc.yaml")["stages"]:
        assert re.search(rf"^ +{stage} +\S+", said, flags=re.MULTILINE), stage


@pytest.mark.parametrize("arguments", [["stage", "trian"], ["stage", "train"], ["folds", "--jobs", "many"], []])
def test_a_wrong_command_line_exits_with_2(arguments):
    result = job(*arguments)
    assert result.returncode == 2
    assert "usage:" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_signal_after_its_work_does_not_make_a_stage_a_failure(tmp_path):
    """As one that arrives while the interpreter shuts down, which takes torch a second: what is done is recorded."""
    (tmp_path / "params.yaml").write_text((ROOT / "params.yaml").read_text())
    late = "import atexit, os, signal, sys; atexit.register(os.kill, os.getpid(), signal.SIGTERM)"
    code = f"{late}; from job.__main__ import main; sys.exit(main(['stage', 'check']))"
    environment = {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, check=False)
    assert done.returncode == 0
    assert (tmp_path / "data/checked.json").is_file()


def test_the_names_of_the_folds_are_one_line():
    assert job("folds", "--list").stdout.split()[::9] == ["noisy_student-1", "efficientnet-5"]


def test_an_error_of_the_user_is_a_sentence_and_exit_code_2(tmp_path):
    result = job("stage", "check", cwd=tmp_path)
    assert result.returncode == 2
    assert result.stderr.startswith("error: params.yaml does not exist")
    assert "Traceback" not in result.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (PermissionError(errno.EACCES, "Permission denied", "/srv/out.csv"), "error: /srv/out.csv: Permission denied"),
        (OSError(errno.ENOSPC, "No space left on device"), "error: No space left on device"),
    ],
)
def test_what_a_disk_refuses_is_a_sentence(monkeypatch, capsys, error, sentence):
    def run(**_):
        raise error

    monkeypatch.setattr("job.commands.folds.run", run)
    assert main(["folds"]) == 2
    assert capsys.readouterr().err.startswith(sentence)


def test_a_file_that_a_fault_of_ours_looks_for_keeps_its_traceback(monkeypatch):
    monkeypatch.setattr("job.commands.folds.run", lambda **_: Path("/not/here").read_bytes())
    with pytest.raises(FileNotFoundError):
        main(["folds"])


def test_gpus_are_handed_out_in_turn(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,5")
    runs = []
    monkeypatch.setattr(folds, "_dvc", lambda name, env, _: runs.append((name, env["CUDA_VISIBLE_DEVICES"])))
    train = params.load(ROOT / "params.yaml").train
    free = deque(folds._environments(train, folds._gpus(), jobs=None))
    for name in ("a", "b", "c"):
        folds._fold(name, free, set(), Event())
    assert runs == [("a", "2"), ("b", "5"), ("c", "2")]


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_failing_fold_starts_no_other(monkeypatch, jobs):
    began = []

    def dvc(name, *_):
        began.append(name)
        return 1

    monkeypatch.setattr(folds, "_dvc", dvc)
    monkeypatch.setattr("subprocess.run", lambda command, **_: SimpleNamespace(returncode="status" in command))
    monkeypatch.setattr(folds, "_gpus", list)
    with pytest.raises(UserError, match="failed: see its message above"):
        folds._run(params.load(ROOT / "params.yaml"), [f"m-{fold}" for fold in range(9)], jobs)
    assert 1 <= len(began) <= jobs


@pytest.mark.parametrize(
    ("visible", "gpus"),
    [("", []), ("-1", []), ("NoDevFiles", []), ("none", []), ("0, 1", ["0", "1"]), ("0,-1,1", ["0"]),
     ("GPU-8932f937,MIG-377e/0/1", ["GPU-8932f937", "MIG-377e/0/1"])],
)  # fmt: skip
def test_gpus_are_those_that_cuda_would_see(monkeypatch, visible, gpus):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert folds._gpus() == gpus


@pytest.mark.parametrize(
    ("gpus", "device", "devices", "given"),
    [
        ("0", "auto", 1, {"0"}),
        ("0,1,2,3,4", "auto", 2, {"0,1", "2,3"}),
        ("0,1,2,3", "cuda", 4, {"0,1,2,3"}),
        ("0,1", "cpu", 4, {"0,1"}),
        ("", "auto", 2, {""}),
    ],
)
def test_no_more_folds_at_a_time_than_there_are_gpus_for(monkeypatch, tmp_path, gpus, device, devices, given):
    monkeypatch.setattr("os.sched_getaffinity", lambda _process: range(3))
    (tmp_path / "params.yaml").write_text((ROOT / "params.yaml").read_text())
    repository.change(tmp_path, {"train": {"device": device, "devices": devices}})
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", gpus)
    monkeypatch.setattr(
        folds.subprocess, "run", lambda command, **_: SimpleNamespace(returncode=int("status" in command))
    )
    groups, running, most = set(), [], []

    def run(name, environment, _running):
        running.append(name)
        most.append(len(running))
        groups.add(environment["CUDA_VISIBLE_DEVICES"])
        time.sleep(0.01)
        running.remove(name)
        return 0

    monkeypatch.setattr(folds, "_dvc", run)
    assert folds.run(jobs=None) == "10 folds are trained and predicted"
    assert groups == given
    assert max(most) == (len(given) if gpus and device != "cpu" else 3)


def test_folds_share_a_gpu_where_that_is_asked_for():
    train = params.load(ROOT / "params.yaml").train
    given = [entry["CUDA_VISIBLE_DEVICES"] for entry in folds._environments(train, ["2", "5"], jobs=3)]
    assert given == ["2", "5", "2"]
    assert len(folds._environments(train, ["2", "5"], jobs=1)) == 1
    pairs = train.model_copy(update={"devices": 2})
    assert [entry["CUDA_VISIBLE_DEVICES"] for entry in folds._environments(pairs, ["2", "5"], jobs=3)] == ["2,5"]


def test_a_fold_that_something_killed_is_explained(monkeypatch, capsys):
    monkeypatch.setattr(folds, "_BOUND", "print('failed to run: exec python, exited with -9')")
    assert folds._dvc("efficientnet-1", dict(os.environ), set()) == 0
    assert "fold efficientnet-1 was killed, most often because memory ran out: try JOBS=1" in capsys.readouterr().out


def test_two_reports_in_one_folder_get_a_sentence(monkeypatch, tmp_path):
    (tmp_path / "params.yaml").write_text((ROOT / "params.yaml").read_text())
    monkeypatch.chdir(tmp_path)
    with (
        locked(paths.STATE / "folds.lock", 0, "runs"),
        pytest.raises(
            UserError, match=rf"process {os.getpid()} runs `make report` or `make folds` here already .*wait"
        ),
    ):
        folds.run(jobs=None)
    assert list((tmp_path / ".state").iterdir()) == []


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory"),  # the texts of torch itself
        torch.AcceleratorError("CUDA error: out of memory"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        OSError(errno.ENOMEM, os.strerror(errno.ENOMEM)),
    ],
)
def test_want_of_memory_is_named_with_what_to_change(monkeypatch, capsys, error):
    monkeypatch.setattr("job.commands.folds.run", Mock(side_effect=error))
    assert main(["folds"]) == 2
    assert "out of memory: lower train.batch_size" in capsys.readouterr().err


def test_a_package_that_is_not_installed_is_named_with_what_to_do(monkeypatch, capsys):
    """As without the virtual environment."""
    absent = ModuleNotFoundError("No module named 'jobs_of_others'", name="jobs_of_others.tools")
    monkeypatch.setattr("job.commands.folds.run", Mock(side_effect=absent))
    assert main(["folds"]) == 2
    assert "jobs_of_others is not installed for " in (said := capsys.readouterr().err)
    assert "source .venv/bin/activate" in said


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("shapes differ"),
        FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), "/out of memory/1.png"),
        ModuleNotFoundError("no job.wrong", name="job.wrong"),
        ModuleNotFoundError("no torch.wrong", name="torch.wrong"),
        ModuleNotFoundError("nobody knows"),
    ],
)
def test_other_errors_keep_their_traceback(monkeypatch, error):
    monkeypatch.setattr("job.commands.folds.run", Mock(side_effect=error))
    with pytest.raises(type(error)):
        main(["folds"])


def test_a_cache_that_cannot_be_written_to_is_found_before_training(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    check_cache()
    (tmp_path / ".dvc").mkdir()
    (tmp_path / ".dvc/config").write_text("[cache]\n    dir = ../shared\n")
    (tmp_path / "shared/runs/92").mkdir(parents=True)
    check_cache()
    monkeypatch.setattr("os.access", lambda path, _mode: path.name != "92")  # nothing is closed to root
    with pytest.raises(UserError, match=r"cannot write to .*/shared/runs/92.*dvc cache dir"):
        check_cache()
    (tmp_path / ".dvc/config.local").write_text("[core]\n    remot = lab\n")
    with pytest.raises(UserError, match=r"settings of DVC .* cannot be read"):
        check_cache()
    assert setup._remote().state == "wrong"


def test_a_fold_that_wants_more_gpus_than_there_are_is_not_started(monkeypatch):
    train = params.load(ROOT / "params.yaml").train.model_copy(update={"devices": 4})
    with pytest.raises(UserError, match=r"train\.devices is 4, but a fold can have 2 here \(GPU 2, 5\)"):
        folds._environments(train, ["2", "5"], jobs=1)
