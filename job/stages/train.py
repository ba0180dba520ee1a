"""Stage `train`: one fold of one method."""

import importlib

from job import params as parameters
from job.contracts import paths
from job.contracts.split import read_split
from job.files import check_cache, read_json, replacing_folder
from job.inference import runtime
from job.inference.pixels import Context, Normalise, PixelStore
from job.models.network import normalisation
from job.training import identity, parallel, record
from job.training.history import Trained
from job.training.progress import Progress
from job.training.restart import Stop, opened
from job.training.task import Task


def run(method: str, fold: int) -> str:
    """Write `runs/METHOD/fold-K/`."""
    params = parameters.load()
    parameters.check_fold(params, method, fold)
    parallel.run_again_under_torchrun(params.train)
    stop = Stop(f"`dvc repro train@{method}-{fold}` goes on where it stopped")
    device = runtime.setup(params.train, keep_memory=params.machine.keep_memory)
    world, device = parallel.join(params.train.devices, device)
    check_cache()
    prepared = read_json(paths.SUMMARY)
    classes = tuple(prepared["classes"])
    split = read_split(paths.SPLIT, classes)
    # Also where this method needs no half: the list's others would stop after hours.
    if any(params.labels(name) == "half" for name in params.methods):
        split.check_halves(params.split.labelled_share, params.split.fold_by)
    module = importlib.import_module(f"job.methods.{method}")
    labels = params.labels(method)
    store = PixelStore.open(paths.PIXELS).near(device)
    normalise = Normalise.of(*normalisation(params.model.backbone), device)
    context = Context(store, normalise, device, check=stop.check)
    progress = Progress(method, fold, runtime.describe(device), silent=world.rank > 0)
    facts = identity.facts(params, method, device)
    states = paths.STATE / f"{method}-{fold}"
    with opened(states, identity.digest(facts), params.machine.save_every_seconds, world) as restart:
        part = split.fold(fold, classes, labels=labels)
        task = Task(part, classes, context, params, progress, restart, world, split.names)
        trained: Trained = module.train(task)
        if world.rank > 0:
            return f"process {world.rank} has done its share of {method} fold {fold}"
        with replacing_folder(paths.run(method, fold)) as folder:
            record.write(folder, trained, task, method=method, prepared=prepared, labels=labels, split=split)
            identity.check_unchanged(facts, method, device)
    progress.close()
    best = trained.models[-1].best
    return (
        f"{paths.run(method, fold)}: {len(trained.models)} model{'s' * (len(trained.models) > 1)} of "
        f"{params.train.epochs} epochs, validation accuracy {best.validation_accuracy:.1%} at epoch {best.epoch}"
    )
