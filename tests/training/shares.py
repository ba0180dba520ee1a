"""Trains the network of the tests with as many processes as torchrun started; the first prints its history."""

import json
from dataclasses import asdict, replace

from job.inference import runtime
from job.inference.context import Context
from job.inference.pixels import Normalise, PixelStore
from job.training import parallel
from tests.training.test_fit import MEAN, STD, network, params, pixels, train


def double(context):
    """The same context with images in double precision."""
    return replace(context, normalise=lambda batch: Normalise.of(MEAN, STD, context.device)(batch).double())


if __name__ == "__main__":
    world, device = parallel.join(2, runtime.setup(params()))
    context = double(Context(PixelStore(pixels()), Normalise.of(MEAN, STD, device), device))
    fitted = train(context, parallel.synchronise(network("efficientnet-b0").double()), batch_size=7, world=world)
    if world.rank == 0:
        print(json.dumps([asdict(epoch) for epoch in fitted.history]))
