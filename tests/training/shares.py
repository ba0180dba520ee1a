"""Trains the network of the tests with as many processes as torchrun started.

The first prints its history, and the statistics of batch norm that are recomputed for an untrained network.
"""

import json
from dataclasses import asdict, replace

import torch
from torch import distributed, nn
from torch.distributed.nn.functional import all_reduce

from job.inference import runtime
from job.inference.pixels import Context, Normalise, PixelStore
from job.training.fit import recompute_batch_norm
from job.training.parallel import ALONE, World
from tests.training.test_fit import MEAN, ROWS, STD, network, params, pixels, train


def double(context):
    """The same context with images in double precision."""
    return replace(context, normalise=lambda batch: Normalise.of(MEAN, STD, context.device)(batch).double())


class WholeBatchNorm(nn.BatchNorm2d):
    """What `nn.SyncBatchNorm` computes, on CPUs, where torch has none."""

    def forward(self, x):
        """Normalise (B, C, H, W) by the statistics of the batches of all processes."""
        if not self.training:
            return super().forward(x)
        count = all_reduce(torch.tensor(x.numel() / x.shape[1], dtype=x.dtype))
        mean = all_reduce(x.sum((0, 2, 3))) / count
        centred = x - mean.view(-1, 1, 1)
        variance = all_reduce(centred.square().sum((0, 2, 3))) / count
        with torch.no_grad():
            self.num_batches_tracked.add_(1)
            share = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
            self.running_mean.lerp_(mean, share)
            self.running_var.lerp_(variance * count / (count - 1), share)
        return centred * (self.weight * torch.rsqrt(variance + self.eps)).view(-1, 1, 1) + self.bias.view(-1, 1, 1)


def synchronise(net):
    """What `job.training.parallel.synchronise` does, for CPUs."""
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.__class__ = WholeBatchNorm
    return net


def recomputed(net, context, world=ALONE):
    """Mean and variance of the last batch norm."""
    recompute_batch_norm(net, context, ROWS, world)
    return [net._bn1.running_mean.tolist(), net._bn1.running_var.tolist()]


if __name__ == "__main__":
    device = runtime.setup(params())
    distributed.init_process_group("gloo")
    world = World(distributed.get_rank(), distributed.get_world_size())
    context = double(Context(PixelStore(pixels()), Normalise.of(MEAN, STD, device), device))
    fitted = train(context, synchronise(network("efficientnet-b0").double()), batch_size=7, world=world)
    statistics = recomputed(synchronise(network("efficientnet-b0").double()), context, world)
    if world.rank == 0:
        print(json.dumps([[asdict(epoch) for epoch in fitted.history], statistics]))
    distributed.destroy_process_group()
