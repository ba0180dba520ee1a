"""Signals and kills through DVC: nothing is lost, and the ending is the same."""

import contextlib
import json
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.pipeline import chaos, repository

CODE = "job/training/history.py"


@pytest.fixture(scope="module")
def repo(tmp_path_factory):
    """A repository whose folds can be trained, and what fold 1 becomes in peace."""
    folder = repository.create(tmp_path_factory.mktemp("restart"))
    repository.change(folder, {"train": {"epochs": 3}, "methods": ["efficientnet"]})
    repository.run(folder, "dvc", "repro", "train@efficientnet-1")
    return folder, repository.digests(folder, "runs/efficientnet/fold-1")


def test_a_signal_saves_and_names_the_command_that_goes_on(repo):
    """A training that is stopped three times ends with the same bytes."""
    folder, expected = repo
    log = folder / "logs/efficientnet/fold-1.log"
    for number, code in ((signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGHUP, 129)):
        log.unlink()
        # What `nohup` or a shell in the background ignores is inherited, and obeyed.
        command = ["env", f"--default-signal={number.name.removeprefix('SIG')}", "python", "-m", "job"]
        trainer = subprocess.Popen(
            [*command, "stage", "train", "--method", "efficientnet", "--fold", "1"],
            cwd=folder, env=repository.ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        while not log.exists() and trainer.poll() is None:  # until the first epoch has ended, or it goes on
            time.sleep(0.02)
        trainer.send_signal(number)
        output = trainer.communicate()[0]
        assert trainer.returncode == code, output
        assert f"stopped by {number.name}; `dvc repro train@efficientnet-1` goes on where it stopped" in output
        assert "Traceback" not in output
        assert output.startswith("efficientnet fold 1 on the CPU, 1 thread\n")
        assert ("base goes on after" in output) == (number != signal.SIGTERM)
        assert list((folder / ".state/efficientnet-1").rglob("base.state"))
    output = repository.run(folder, "dvc", "repro", "--force", "--no-run-cache", "-s", "train@efficientnet-1").stdout
    assert "base goes on after" in output
    assert repository.digests(folder, "runs/efficientnet/fold-1") == expected
    assert list((folder / ".state").iterdir()) == []


def test_a_fold_is_not_written_with_other_parameters_or_code_than_it_was_trained_with(repo):
    """DVC would note what it finds afterwards, and call a network of three epochs one of four, up to date."""
    folder, expected = repo
    recorded = (folder / "dvc.lock").read_text()
    log = folder / "logs/efficientnet/fold-1.log"
    log.unlink()
    command = ["dvc", "repro", "--force", "--no-run-cache", "--single-item", "train@efficientnet-1"]
    process = subprocess.Popen(
        command, cwd=folder, env=repository.ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    while not log.exists() and process.poll() is None:
        time.sleep(0.02)
    text = (folder / CODE).read_text()
    (folder / CODE).write_text(text.replace("epoch of", "epoch in"))
    repository.run(folder, "git", "stash", "push", "params.yaml")  # the three epochs are not committed
    output = process.communicate()[0]
    (folder / CODE).write_text(text)
    repository.run(folder, "git", "stash", "pop")
    assert process.returncode != 0
    assert f"not written, because something changed while it trained: train.epochs, {CODE}. To finish" in output
    assert "Traceback" not in output
    assert (folder / "dvc.lock").read_text() == recorded
    assert not (folder / "runs/efficientnet/fold-1").exists()
    output = repository.run(folder, *command).stdout
    assert "base goes on after 3 epochs" in output
    assert repository.digests(folder, "runs/efficientnet/fold-1") == expected


def test_in_a_container_sigterm_saves_and_leaves_no_lock(repo):
    """Its first process is `gently`; `docker stop` tells that alone."""
    folder, _ = repo
    log = folder / "logs/efficientnet/fold-1.log"
    log.unlink()
    repository.change(folder, {"train": {"epochs": 5000}})
    command = [folder / "job/gently", "dvc", "repro", "--force", "--no-run-cache", "-s", "train@efficientnet-1"]
    process = subprocess.Popen(command, cwd=folder, env=repository.ENVIRONMENT, stderr=subprocess.PIPE, text=True)
    while not log.exists() and process.poll() is None:
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    assert "stopped by SIGTERM" in process.communicate()[1]
    repository.change(folder, {"train": {"epochs": 3}})
    assert process.returncode == 255
    assert list((folder / ".state").rglob("base.state"))
    assert not any(json.loads((folder / ".dvc/tmp/rwlock").read_text()).values())


def inside(folder):
    """Processes that run in this folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cwd"):
        with contextlib.suppress(OSError):
            found += [path.parent.name] if path.readlink() == folder else []
    return found


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_the_end_of_make_folds_is_that_of_its_trainers(repo, number):
    """At once, not at the next line that they print, and with their states saved."""
    folder, _ = repo
    logs = [folder / f"logs/efficientnet/fold-{fold}.log" for fold in (1, 2)]
    for log in logs:
        log.unlink(missing_ok=True)
    shutil.rmtree(folder / ".state", ignore_errors=True)
    repository.change(folder, {"train": {"epochs": 5000}})
    process = subprocess.Popen(
        ["python", "-m", "job", "folds", "--jobs", "2"],
        # DVC takes this shell; dash is one that stays between DVC and the stage unless it is told otherwise.
        cwd=folder, env=repository.ENVIRONMENT | {"SHELL": "/bin/sh"},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    while not all(log.exists() for log in logs) and process.poll() is None:
        time.sleep(0.02)
    process.send_signal(number)
    output = process.communicate()[0]
    for _ in range(200):
        if not inside(folder):
            break
        time.sleep(0.1)
    else:
        pytest.fail(f"still there after 20 seconds: {inside(folder)}")
    assert process.returncode == (143 if number == signal.SIGTERM else -9), output
    assert len(list((folder / ".state").rglob("base.state"))) == 2
    if number == signal.SIGTERM:
        assert "stopped by SIGTERM; the same command goes on with what is not finished" in output
        assert "stopped by SIGTERM; `dvc repro train@efficientnet-1` goes on where it stopped" in output
    assert "Traceback" not in output
    repository.change(folder, {"train": {"epochs": 3}})


@pytest.mark.slow
def test_five_random_kills_end_alike(tmp_path):
    counts = chaos.run(tmp_path, 5, seed=1)
    assert counts["dvc"] + counts["trainer"] + counts["both"] == 5
