"""Stage `train`: one fold of one method."""

import importlib
from pathlib import Path
from typing import cast

from job import params
from job.files import read_json, replacing_folder
from job.models.network import normalisation
from job.training import failures, identity, parallel, restart, runs, runtime
from job.training.batches import Normalise, PixelStore
from job.training.bench import Bench
from job.training.fold import Split
from job.training.progress import FoldLog, Silent
from job.training.task import Method, Task


def run(method: str, fold: int) -> str:
    """Write `runs/METHOD/fold-K/`."""
    values = params.load()
    params.check_fold(values, method, fold)
    parallel.run_again_under_torchrun(values.train.devices)
    stop = runtime.Stop(f"`dvc repro train@{method}-{fold}` goes on where it stopped")
    stop.listen()
    world, device = parallel.join(values.train.devices, runtime.setup(values.train))
    prepared = read_json(Path("data/prepared/summary.json"))
    classes = tuple(prepared["classes"])
    split = Split.read(Path("data/split.csv"))
    module = cast(Method, importlib.import_module(f"job.training.methods.{method}"))
    labels = module.labels(values)
    part = split.fold(fold, classes, labels=labels)
    store = PixelStore.open(Path("data/prepared/images.npy")).near(device)
    normalise = Normalise.of(*normalisation(values.model.backbone), device)
    precision = runtime.resolve_precision(values.train.precision, device)
    bench = Bench(store, normalise, device, precision, names=split.images, world=world, check=stop.check)
    data = identity.data_digest()
    digest = identity.run_digest(values, method, fold, device, data)
    folder = Path("runs") / method / f"fold-{fold}"
    every = values.train.save_every_seconds
    images = module.images(part, values)
    if world.rank > 0:
        with failures.explained():
            module.train(Task(part, classes, bench, values, Silent(), restart.Follower()))
        return f"{folder}: process {world.rank} has done its share"
    kind = restart.Leader if world.size > 1 else restart.Restart
    with failures.explained(), restart.opened(Path(".state") / f"{method}-{fold}", digest, every, kind) as saved:
        log = FoldLog(method, fold, images, str(device))
        trained = module.train(Task(part, classes, bench, values, log, saved))
        with replacing_folder(folder) as temporary:
            runs.write(
                temporary, trained, method=method, fold=fold, classes=classes, size=store.size, labels=labels,
                split=split, params=values, device=device.type, precision=precision, data=data,
                synthetic=prepared["synthetic"],
            )  # fmt: skip
    log.close()
    final = trained.models[-1]
    return (
        f"{folder}: {len(trained.models)} model{'s' * (len(trained.models) > 1)} of {values.train.epochs} epochs, "
        f"validation accuracy {final.best.validation_accuracy:.1%} at epoch {final.best.epoch}"
    )
