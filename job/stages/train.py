"""Stage `train`: one fold of one method."""

import importlib
from typing import cast

from job import params as parameters
from job.contracts import paths
from job.contracts.split import read_split
from job.files import read_json, replacing_folder
from job.inference import runtime
from job.inference.context import Context
from job.inference.pixels import Normalise, PixelStore
from job.methods.task import Method, Task
from job.models.network import normalisation
from job.training import failures, identity, parallel, record, restart
from job.training.progress import FoldLog, Progress
from job.training.stop import Stop


def run(method: str, fold: int) -> str:
    """Write `runs/METHOD/fold-K/`."""
    params = parameters.load()
    parameters.check_fold(params, method, fold)
    parallel.run_again_under_torchrun(params.train)
    stop = Stop(f"`dvc repro train@{method}-{fold}` goes on where it stopped")
    stop.listen()
    device = runtime.setup(params.train, keep_memory=params.machine.keep_memory)
    world, device = parallel.join(params.train.devices, device)
    prepared = read_json(paths.SUMMARY)
    classes = tuple(prepared["classes"])
    split = read_split(paths.SPLIT, classes)
    module = cast(Method, importlib.import_module(f"job.methods.{method}"))
    labels = module.labels(params)
    part = split.fold(fold, classes, labels=labels)
    store = PixelStore.open(paths.PIXELS).near(device)
    normalise = Normalise.of(*normalisation(params.model.backbone), device)
    precision = runtime.resolve_precision(params.train.precision, device)
    context = Context(store, normalise, device, precision, check=stop.check)
    folder, every = paths.run(method, fold), params.machine.save_every_seconds
    if world.rank > 0:
        with failures.explained():
            states = restart.Restart(paths.STATE, every, world)
            module.train(Task(part, classes, context, params, Progress(), states, world, split.names))
        return f"{folder}: process {world.rank} has done its share"
    data = identity.data_digest()
    digest = identity.run_digest(params, method, fold, device, data)
    with failures.explained(), restart.opened(paths.STATE / f"{method}-{fold}", digest, every, world) as states:
        log = FoldLog(method, fold, str(device))
        trained = module.train(Task(part, classes, context, params, log, states, world, split.names))
        with replacing_folder(folder) as temporary:
            record.write(
                temporary, trained, method=method, fold=fold, prepared=prepared, labels=labels, split=split,
                params=params, device=device.type, precision=precision, data=data,
            )  # fmt: skip
    log.close()
    final = trained.models[-1]
    return (
        f"{folder}: {len(trained.models)} model{'s' * (len(trained.models) > 1)} of {params.train.epochs} epochs, "
        f"validation accuracy {final.best.validation_accuracy:.1%} at epoch {final.best.epoch}"
    )
