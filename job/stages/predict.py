"""Stage `predict`: probabilities of one fold's models for images they did not train on."""

from pathlib import Path

import pandas as pd
from tqdm import tqdm

from job import params
from job.files import replacing
from job.training import runs, runtime
from job.training.augment import VIEWS
from job.training.batches import Normalise, PixelStore
from job.training.bench import Bench
from job.training.fold import Split
from job.training.inference import predict


def run(method: str, fold: int) -> str:
    """Write `predictions/METHOD/fold-K.csv`."""
    values = params.load()
    params.check_fold(values, method, fold)
    device = runtime.setup(values.train)
    folder = Path("runs") / method / f"fold-{fold}"
    facts = runs.read_facts(folder)
    classes = tuple(facts["classes"])
    split = Split.read(Path("data/split.csv"))
    data = split.fold(fold, classes, labels=facts["labels"])
    store = PixelStore.open(Path("data/prepared/images.npy")).near(device)
    roles = {
        "validation": data.validation.rows,
        "masked": data.masked,
        "test": split.rows("test"),
        "unlabelled": split.rows("unlabelled"),
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
        bench = Bench(store, normalise, device, facts["precision"])
        network = runs.load_network(model, path, device)
        for role, rows in roles.items():
            if len(rows) == 0:
                continue
            said = predict(network, bench, rows, values.predict.batch_size, tta=values.predict.tta)
            bar.update(len(rows))
            table = pd.DataFrame(said, columns=[f"p_{name}" for name in classes])
            tables.append(
                table.assign(image=split.images(rows), role=role, fold=fold, iteration=iteration, views=views)
            )
    bar.close()
    keys = ["image", "role", "fold", "iteration", "views"]
    result = pd.concat(tables, ignore_index=True)[[*keys, *tables[0].columns.difference(keys, sort=False)]]
    path = Path("predictions") / method / f"fold-{fold}.csv"
    with replacing(path) as temporary:
        result.to_csv(temporary, index=False, lineterminator="\n")
    return f"{path}: {len(result)} rows, {result['iteration'].nunique()} models"
