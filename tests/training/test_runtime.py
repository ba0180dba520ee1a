import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from job.errors import UserError
from job.inference import runtime
from job.training.state import seeded
from tests import ROOT
from tests.training.test_fit import params

TRAINER = """
import sys, time, types
from job.__main__ import main
def run():
    print("ready", flush=True)
    time.sleep(600)
sys.modules["job.stages.check"] = types.SimpleNamespace(run=run)
main(["stage", "check"])
"""
STARTER = f"""
import subprocess, sys
trainer = subprocess.Popen([sys.executable, "-c", {TRAINER!r}])
print(trainer.pid, flush=True)
trainer.wait()
"""


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.skipif(sys.platform != "linux", reason="the parent-death signal is Linux's")
def test_a_trainer_dies_with_its_parent():
    """Killing DVC alone must not leave a trainer that writes over outputs which a later run has restored."""
    with subprocess.Popen([sys.executable, "-c", STARTER], cwd=ROOT, stdout=subprocess.PIPE, text=True) as parent:
        pid = int(parent.stdout.readline())
        assert parent.stdout.readline() == "ready\n"
        assert alive(pid)
        parent.kill()
        parent.wait()
        for _ in range(100):
            if not alive(pid):
                break
            time.sleep(0.1)
        else:
            os.kill(pid, signal.SIGKILL)
            pytest.fail("the trainer outlived its parent by ten seconds")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_missing_gpu_that_was_asked_for_is_an_error():
    with pytest.raises(UserError, match=r"train\.device=cuda.*no CUDA device"):
        runtime.setup(params(device="cuda"))


def old_card(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.get_arch_list", lambda: ["sm_75", "sm_90", "sm_120", "compute_120"])
    monkeypatch.setattr("torch.cuda.get_device_capability", lambda: (7, 0))
    monkeypatch.setattr("torch.cuda.get_device_name", lambda: "Tesla V100")
    return "Tesla V100 is too old for torch .* 7.0 and 7.5"


def old_driver(monkeypatch, tmp_path):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr(runtime, "DEVICES", tmp_path)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    (tmp_path / "nvidia0").touch()
    return f"there is a GPU here that torch .* cannot use: it needs a driver for CUDA {torch.version.cuda}"


def test_a_gpu_that_torch_cannot_use_never_means_days_on_the_cpu(monkeypatch, tmp_path):
    with pytest.raises(UserError, match=old_driver(monkeypatch, tmp_path) + ".*train.device=cpu"):
        runtime.setup(params(device="auto"))
    assert runtime.setup(params(device="cpu")).type == "cpu"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert runtime.setup(params(device="auto")).type == "cpu", "hidden on purpose"
    with pytest.raises(UserError, match=old_card(monkeypatch)):
        runtime.setup(params(device="auto"))
    monkeypatch.setattr("torch.cuda.get_device_capability", lambda: (12, 0))
    assert runtime.setup(params(device="auto")).type == "cuda"


def test_a_seeded_block_leaves_the_global_generator_as_it_was():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    with seeded(1, torch.device("cpu")):
        first = torch.rand(3)
    assert torch.equal(torch.rand(3), expected)
    with seeded(1, torch.device("cpu")):
        assert torch.equal(torch.rand(3), first)
