import copy

import pytest
import torch
from efficientnet_pytorch.model import MBConvBlock
from torch import nn

from job.models import chunked
from job.models.mbconv import Block
from job.models.network import build

BATCH = 5


def pair(backbone, size):
    """A network that goes through its blocks in chunks, and the same one with the library's own blocks.

    In double precision: statistics of five images magnify the last bits of single precision.
    """
    ours = build(backbone, classes=3, size=size, dropout=0.0, stochastic_depth=0.0, seed=3).double()
    theirs = copy.deepcopy(ours)
    for block in theirs.modules():
        if isinstance(block, Block):
            block.__class__ = MBConvBlock
    return ours, theirs


def images(size):
    drawn = torch.randn(BATCH, 3, size, size, generator=torch.Generator().manual_seed(1)).double()
    return drawn.contiguous(memory_format=torch.channels_last)


def same_buffers(ours, theirs):
    expected = dict(theirs.named_buffers())
    for name, buffer in ours.named_buffers():
        assert torch.allclose(buffer, expected[name], rtol=1e-9), name


# One image a chunk, two (five do not divide evenly), and the batch as a whole.
@pytest.mark.parametrize("chunk", [1, 300_000, 1 << 40])
@pytest.mark.parametrize(
    ("backbone", "size"), [("efficientnet-b0", 64), ("efficientnet-b0", 75), ("efficientnet-lite0", 75)]
)
def test_chunks_change_neither_outputs_nor_gradients_nor_statistics(monkeypatch, backbone, size, chunk):
    monkeypatch.setattr(chunked, "CHUNK_BYTES", chunk)
    ours, theirs = pair(backbone, size)
    logits = [net.train()(images(size)) for net in (ours, theirs)]
    assert torch.allclose(*logits, rtol=1e-9, atol=1e-12)
    for answer in logits:
        answer.square().sum().backward()
    expected = dict(theirs.named_parameters())
    for name, parameter in ours.named_parameters():
        assert torch.allclose(parameter.grad, expected[name].grad, rtol=1e-6, atol=1e-9), name
    same_buffers(ours, theirs)


@pytest.mark.parametrize("backbone", ["efficientnet-b0", "efficientnet-lite0"])
def test_norms_folded_into_convolutions_predict_the_same(monkeypatch, backbone):
    monkeypatch.setattr(chunked, "CHUNK_BYTES", 300_000)
    ours, theirs = pair(backbone, 75)
    for net in (ours, theirs):  # statistics and scales that are not one
        for number, norm in enumerate(module for module in net.modules() if isinstance(module, nn.BatchNorm2d)):
            rng = torch.Generator().manual_seed(number)
            for values in (norm.running_var, norm.weight.data):
                values.copy_(0.5 + torch.rand(values.shape, generator=rng))
            for values in (norm.running_mean, norm.bias.data):
                values.copy_(torch.randn(values.shape, generator=rng) / 10)
    with torch.no_grad():
        assert torch.allclose(ours.eval()(images(75)), theirs.eval()(images(75)), rtol=1e-9, atol=1e-12)
    same_buffers(ours, theirs)


def test_statistics_of_batch_norm_alone_are_taken_as_before():
    """Recomputing them sets the norms to training in a network that evaluates, with the cumulative average."""
    ours, theirs = pair("efficientnet-b0", 64)
    for net in (ours, theirs):
        net.eval()
        for norm in net.modules():
            if isinstance(norm, nn.BatchNorm2d):
                norm.reset_running_stats()
                norm.momentum = None
                norm.train()
        with torch.inference_mode():
            net(images(64))
            net(images(64).flip(0) * 2)
    same_buffers(ours, theirs)


def test_norms_that_keep_no_statistics_leave_no_trace():
    """Meta Pseudo Labels asks for a loss twice between two steps."""
    ours, theirs = pair("efficientnet-b0", 64)
    with torch.no_grad():
        for net in (ours, theirs):
            net.eval()
            for norm in net.modules():
                if isinstance(norm, nn.BatchNorm2d):
                    norm.train()
                    norm.track_running_stats = False
        assert torch.allclose(ours(images(64)), theirs(images(64)), rtol=1e-9, atol=1e-12)
    same_buffers(ours, theirs)
    assert not any(buffer.any() for name, buffer in ours.named_buffers() if name.endswith("num_batches_tracked"))
