"""What is damaged or ended from outside is told in a sentence."""

import contextlib
import io
import json
import os
import signal
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import save

from job.contracts import paths
from job.errors import UserError
from job.inference import runs
from job.inference.pixels import PixelStore
from job.training.progress import Progress
from job.training.restart import Stop


def test_damaged_weights_and_pixels_are_named_with_the_remedy(tmp_path):
    facts = {"backbones": ["efficientnet-lite0"], "classes": ["HEM", "ALL"], "size": 32}
    path = tmp_path / "model.safetensors"
    path.write_bytes(save({"layer": torch.zeros(100)})[:-8])
    with pytest.raises(UserError, match=r"model\.safetensors is damaged .*: run `dvc repro`"):
        runs.load_network(facts, path, torch.device("cpu"))
    path.unlink()
    with pytest.raises(UserError, match=r"model\.safetensors does not exist: run `dvc repro`"):
        runs.load_network(facts, path, torch.device("cpu"))
    path = tmp_path / "images.npy"
    np.save(path, np.zeros((4, 8, 8, 3), dtype=np.uint8))
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(UserError, match=r"images\.npy is damaged .*: run `dvc repro`"):
        PixelStore.open(path)


def test_a_reader_that_ended_does_not_end_a_training(tmp_path, monkeypatch):
    """`make folds` was killed: DVC's signal, after which the state is saved, comes a moment later."""
    monkeypatch.chdir(tmp_path)
    progress = Progress("efficientnet", 1, "the CPU")
    reading, writing = os.pipe()
    os.close(reading)
    with contextlib.closing(io.FileIO(writing, "w")) as pipe:
        monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(pipe, write_through=True))
        progress.resumed("base", 2, 64)
    assert "base goes on after 2 epochs" in paths.log("efficientnet", 1).read_text()


def test_a_log_has_no_lines_of_another_training(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    log = paths.log("efficientnet", 1)
    log.parent.mkdir(parents=True)
    log.write_text("of earlier parameters\n")
    Progress("efficientnet", 1, "the CPU").begun()  # and stopped in its first epoch
    progress = Progress("efficientnet", 1, "the CPU")
    progress.resumed("teacher", 0, 8)
    progress.begun()  # the next model of the same training
    assert log.read_text() == "efficientnet fold 1  teacher goes on after 0 epochs, 8 images\n"


def test_the_time_of_a_resumed_fold_is_not_known(tmp_path, monkeypatch):
    """Only the last process's is."""
    monkeypatch.chdir(tmp_path)
    for resumed in (False, True):
        progress = Progress("efficientnet", 1, "the CPU")
        if resumed:
            progress.resumed("base", 2, 64)
        progress.close()
        kept = json.loads(paths.log("efficientnet", 1).with_suffix(".json").read_text())
        assert ("seconds" in kept) is not resumed


def test_a_signal_that_nohup_ignores_stays_ignored(monkeypatch):
    handlers = {signal.SIGTERM: signal.SIG_DFL, signal.SIGINT: signal.SIG_DFL, signal.SIGHUP: signal.SIG_IGN}
    monkeypatch.setattr(signal, "getsignal", handlers.get)
    monkeypatch.setattr(signal, "signal", handlers.__setitem__)
    Stop("again")
    assert handlers.pop(signal.SIGHUP) == signal.SIG_IGN
    assert not {signal.SIG_DFL, signal.SIG_IGN} & set(handlers.values())
