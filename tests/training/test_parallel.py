import json
import subprocess
import sys
from dataclasses import asdict

import pytest
import torch

from job.errors import UserError
from job.inference import runtime
from job.training import parallel
from tests import ROOT
from tests.training.shares import double
from tests.training.test_fit import context, network, params, train  # noqa: F401 - a fixture


def test_two_processes_learn_what_one_does(context):  # noqa: F811
    """In double precision, with the same batches: shares of 4 and 3 images, in the last batch of 2 and 2."""
    command = ["torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "tests.training.shares"]
    result = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    shared = json.loads(result.stdout)
    fitted = train(double(context), network("efficientnet-b0").double(), batch_size=7)
    alone = [asdict(epoch) for epoch in fitted.history]
    for ours, expected in zip(shared, alone, strict=True):
        assert ours.pop("model") == expected.pop("model")
        assert ours == pytest.approx(expected, abs=1e-6)


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
