"""Stage `predict`: probabilities of one fold's models for images they did not train on."""

import pandas as pd
from tqdm import tqdm

from job import params as parameters
from job.contracts import paths, predictions
from job.contracts.split import read_split
from job.files import read_json, write_text
from job.inference import runs, runtime
from job.inference.pixels import VIEWS, Context, PixelStore
from job.inference.predict import predict


def run(method: str, fold: int) -> str:
    """Write `predictions/METHOD/fold-K.csv`."""
    params = parameters.load()
    parameters.check_fold(params, method, fold)
    device = runtime.setup(params.train, keep_memory=params.machine.keep_memory)
    folder = paths.run(method, fold)
    facts = read_json(folder / runs.FACTS)
    classes = tuple(facts["classes"])
    split = read_split(paths.SPLIT, classes)
    store = PixelStore.open(paths.PIXELS).near(device)
    rows = {role: split.rows(role, fold) for role in predictions.ROLES if role != "masked" or facts["labels"] == "half"}
    models = runs.iterations(folder)
    # The vote is the last models' alone, and unlabelled images serve nothing else.
    roles = {
        iteration: [role for role in rows if len(rows[role]) and (role != "unlabelled" or iteration == max(models))]
        for iteration in models
    }
    # Written down, because whoever predicts with these networks later must see images as they were seen here.
    views = VIEWS if params.predict.tta else 1
    images = sum(len(rows[role]) for part in roles.values() for role in part)
    bar = tqdm(total=images, desc=f"{method} fold {fold}", unit="image", disable=None, leave=False)
    tables = []
    for iteration, path in models.items():
        context = Context(store, runs.normalise(facts, device, iteration), device)
        network = runs.load_network(facts, path, device, iteration)
        for role in roles[iteration]:
            p = predict(network, context, rows[role], params.predict.batch_size, tta=params.predict.tta)
            bar.update(len(p))
            tables.append(predictions.fold_rows(split, role, fold, iteration, views, p, classes))
    bar.close()
    result = pd.concat(tables, ignore_index=True)
    path = paths.predictions(method, fold)
    write_text(path, result.to_csv(index=False, lineterminator="\n"))
    return f"{path}: {len(result)} rows, {result['iteration'].nunique()} models"
