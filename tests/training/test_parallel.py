import json
import subprocess
import sys
from dataclasses import asdict

import pytest
import torch
from torch import nn

from job.errors import UserError
from job.inference import runtime
from job.training import parallel
from job.training.fit import recompute_batch_norm
from tests import ROOT
from tests.training.shares import double, recomputed
from tests.training.test_fit import ROWS, context, network, params, train  # noqa: F401 - a fixture


def test_two_processes_learn_what_one_does(context):  # noqa: F811
    """In double precision, with the same batches: shares of 4 and 3 images, in the last batch of 2 and 2.

    `nn.SyncBatchNorm` needs GPUs; here a stand-in takes its place.
    """
    command = ["torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "tests.training.shares"]
    result = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    shared, statistics = json.loads(result.stdout)
    fitted = train(double(context), network("efficientnet-b0").double(), batch_size=7)
    alone = [asdict(epoch) for epoch in fitted.history]
    for ours, expected in zip(shared, alone, strict=True):
        assert ours.pop("model") == expected.pop("model")
        assert ours == pytest.approx(expected, abs=1e-6)
    for ours, expected in zip(
        statistics, recomputed(network("efficientnet-b0").double(), double(context)), strict=True
    ):
        assert ours == pytest.approx(expected, rel=1e-9)


def test_synchronised_norms_are_those_of_torch_and_keep_statistics_as_others_do(context):  # noqa: F811
    """`nn.SyncBatchNorm` is no `nn.BatchNorm2d`, and must be found where statistics are recomputed."""
    plain = network("efficientnet-b0")
    synchronised = parallel.synchronise(network("efficientnet-b0"))
    assert any(isinstance(module, nn.SyncBatchNorm) for module in synchronised.modules())
    assert not any(isinstance(module, nn.BatchNorm2d) for module in synchronised.modules())
    for net in (plain, synchronised):
        recompute_batch_norm(net, context, ROWS)
    expected = plain.state_dict()
    for name, value in synchronised.state_dict().items():
        assert torch.equal(value, expected[name]), name


@pytest.mark.parametrize(("device", "there"), [("cpu", True), ("auto", False)])
def test_processes_share_a_fold_on_gpus_only(monkeypatch, device, there):
    monkeypatch.setattr("torch.cuda.is_available", lambda: there)
    with pytest.raises(UserError, match=r"train\.devices is 2, but only GPUs share a fold.*set train\.devices=1"):
        parallel.run_again_under_torchrun(params(device=device, devices=2))


@pytest.mark.parametrize(("program", "code"), [("exit 2", 2), ("kill -9 $$$$", 137), ("exit 0", 0)])
def test_torchrun_exits_as_its_processes_do(program, code):
    """A user's mistake in one of them stays exit code 2, without a traceback of torchrun."""
    arguments = ["--standalone", "--nproc-per-node=2", "--no-python", "sh", "-c", program]
    call = f"import sys; from job.training.parallel import torchrun; sys.exit(torchrun({arguments}))"
    ended = subprocess.run([sys.executable, "-c", call], cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == code, ended.stderr
    assert "Traceback" not in ended.stderr


def test_the_number_of_processes_is_that_of_the_parameters(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "4")
    with pytest.raises(UserError, match=r"4 processes, but train\.devices is 2"):
        parallel.join(2, runtime.setup(params()))


def test_a_process_without_a_gpu_of_its_own_says_so(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    with pytest.raises(UserError, match=r"train\.devices is 2, but the processes here see 1 GPU: lower it"):
        parallel.join(2, torch.device("cuda"))
