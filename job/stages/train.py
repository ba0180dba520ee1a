"""Stage `train`: one fold of one method."""

import importlib
from typing import cast

from job import params
from job.contracts import paths
from job.contracts.split import read_split
from job.files import read_json, replacing_folder
from job.inference import runtime
from job.inference.context import Context
from job.inference.pixels import Normalise, PixelStore
from job.methods.task import Method, Task
from job.models.network import normalisation
from job.training import failures, identity, parallel, record, restart
from job.training.progress import FoldLog, Silent


def run(method: str, fold: int) -> str:
    """Write `runs/METHOD/fold-K/`."""
    values = params.load()
    params.check_fold(values, method, fold)
    parallel.run_again_under_torchrun(values.train)
    stop = runtime.Stop(f"`dvc repro train@{method}-{fold}` goes on where it stopped")
    stop.listen()
    device = runtime.setup(values.train, keep_memory=values.machine.keep_memory)
    world, device = parallel.join(values.train.devices, device)
    prepared = read_json(paths.SUMMARY)
    classes = tuple(prepared["classes"])
    split = read_split(paths.SPLIT, classes)
    module = cast(Method, importlib.import_module(f"job.methods.{method}"))
    labels = module.labels(values)
    part = split.fold(fold, classes, labels=labels)
    store = PixelStore.open(paths.PIXELS).near(device)
    normalise = Normalise.of(*normalisation(values.model.backbone), device)
    precision = runtime.resolve_precision(values.train.precision, device)
    bench = Context(store, normalise, device, precision, names=split.names, world=world, check=stop.check)
    data = identity.data_digest()
    digest = identity.run_digest(values, method, fold, device, data)
    folder = paths.run(method, fold)
    every = values.machine.save_every_seconds
    images = module.images(part, values)
    if world.rank > 0:
        with failures.explained():
            module.train(Task(part, classes, bench, values, Silent(), restart.Follower()))
        return f"{folder}: process {world.rank} has done its share"
    kind = restart.Leader if world.size > 1 else restart.Restart
    with failures.explained(), restart.opened(paths.STATE / f"{method}-{fold}", digest, every, kind) as saved:
        log = FoldLog(method, fold, images, str(device))
        trained = module.train(Task(part, classes, bench, values, log, saved))
        with replacing_folder(folder) as temporary:
            record.write(
                temporary, trained, method=method, fold=fold, prepared=prepared, labels=labels, split=split,
                params=values, device=device.type, precision=precision, data=data,
            )  # fmt: skip
    log.close()
    final = trained.models[-1]
    return (
        f"{folder}: {len(trained.models)} model{'s' * (len(trained.models) > 1)} of {values.train.epochs} epochs, "
        f"validation accuracy {final.best.validation_accuracy:.1%} at epoch {final.best.epoch}"
    )
