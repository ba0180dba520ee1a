import pytest
import torch

from benchmarks import gpu


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(gpu, "SIDE", 64)


def test_the_host_never_waits_for_a_gpu_in_a_step(small):
    counted = gpu.counts(2)
    assert {name: value for name, value in counted.items() if "waits" in name} == {
        "gpu_2_waits_none": 0, "gpu_2_waits_dihedral": 0, "gpu_2_waits_cells": 0,
    }  # fmt: skip
    # A convolution, a norm, an activation and more in each block, and what belongs to them in the backward pass.
    assert 500 < counted["gpu_2_operations"] < 1000


def test_a_copy_that_waits_is_counted(small, monkeypatch):
    for module in ("inference.pixels", "training.batch", "training.augment"):
        monkeypatch.setattr(f"job.{module}.sent", lambda values, device: values.to(device))
    counted = gpu.counts(2)
    # Rows, and targets twice; what is drawn, and two matrices of stains.
    assert [counted[f"gpu_2_waits_{policy}"] for policy in ("none", "dihedral", "cells")] == [3, 4, 6]


def test_processes_send_gradients_and_statistics_and_nothing_else():
    """Gradients, 16 MB, in two messages. By default buffers would be sent before each step as well."""
    assert gpu.messages() == {"gpu_messages_gradients": 2, "gpu_messages_norms": 98, "gpu_messages_other": 0}


def test_steps_are_measured(monkeypatch):
    """On the CPU, where a step can be tried; the compiler takes minutes there."""
    monkeypatch.setattr(gpu, "WAYS", {"": {}})
    figures = gpu.speeds(torch.device("cpu"), side=32, batches=(2,), steps=1)
    assert figures.keys() == {"gpu_2"}
    assert figures["gpu_2"] > 0
