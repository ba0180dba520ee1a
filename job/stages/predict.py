"""Stage `predict`: probabilities of one fold's models for images they did not train on."""

import pandas as pd
from tqdm import tqdm

from job import params
from job.contracts import paths, predictions
from job.contracts.split import read_split
from job.files import replacing
from job.inference import runs, runtime
from job.inference.augment import VIEWS
from job.inference.context import Context
from job.inference.pixels import Normalise, PixelStore
from job.inference.predict import predict


def run(method: str, fold: int) -> str:
    """Write `predictions/METHOD/fold-K.csv`."""
    values = params.load()
    params.check_fold(values, method, fold)
    device = runtime.setup(values.train, keep_memory=values.machine.keep_memory)
    folder = paths.run(method, fold)
    facts = runs.read_facts(folder)
    classes = tuple(facts["classes"])
    split = read_split(paths.SPLIT, classes)
    store = PixelStore.open(paths.PIXELS).near(device)
    roles = {
        role: split.rows(role, fold) for role in predictions.ROLES if role != "masked" or facts["labels"] == "half"
    }
    models = runs.iterations(folder)
    images = len(models) * sum(len(rows) for rows in roles.values())
    # Written down, because whoever predicts with these networks later must see images as they were seen here.
    views = VIEWS if values.predict.tta else 1
    bar = tqdm(total=images, desc=f"{method} fold {fold}", unit="image", disable=None, leave=False)
    tables = []
    for iteration, path in models.items():
        model = runs.of_iteration(facts, iteration)
        normalise = Normalise.of(tuple(model["mean"]), tuple(model["std"]), device)
        bench = Context(store, normalise, device, facts["precision"])
        network = runs.load_network(model, path, device)
        for role, rows in roles.items():
            if len(rows) == 0:
                continue
            said = predict(network, bench, rows, values.predict.batch_size, tta=values.predict.tta)
            bar.update(len(rows))
            tables.append(predictions.fold_rows(split, role, fold, iteration, views, said, classes))
    bar.close()
    result = pd.concat(tables, ignore_index=True)
    path = paths.predictions(method, fold)
    with replacing(path) as temporary:
        result.to_csv(temporary, index=False, lineterminator="\n")
    return f"{path}: {len(result)} rows, {result['iteration'].nunique()} models"
