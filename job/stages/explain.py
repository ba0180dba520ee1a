"""Stage `explain`: the cells that the errors page shows, each with a map of where the folds looked."""

import numpy as np
import pandas as pd
import torch
from torch.nn import functional
from tqdm import tqdm

from job import files
from job import params as parameters
from job.contracts import paths
from job.contracts.split import read_split
from job.evaluation import gallery
from job.inference import activation, runtime
from job.inference.pixels import PixelStore


def run() -> str:
    """Write `results/explanations/{cells.csv, maps.npy}`; returns the closing sentence.

    `cells.csv` has the columns of `gallery.cells` and `row`, the image's row in the pixel store. `maps.npy` is
    (cells, h, w) uint8: for the class that the majority predicted, the mean of the folds' activation maps, its highest
    value 255.
    """
    params = parameters.load()
    device = runtime.setup(params.train, keep_memory=params.machine.keep_memory)
    classes = tuple(files.read_json(paths.EVALUATION)["classes"])
    text = dict.fromkeys(("model", "role", "image", "label", "predicted"), str)
    predictions = pd.read_csv(
        files.existing(paths.RESULT_PREDICTIONS),
        usecols=lambda name: name in text or name.startswith("p_"),
        dtype=text,
        keep_default_na=False,
    )
    cells = gallery.cells(predictions, params.methods, classes, params.explain.cells)
    split = read_split(paths.SPLIT, classes).table.set_index("image")
    cells["row"] = split.loc[cells["image"], "row"].to_numpy()
    store = PixelStore.open(paths.PIXELS)
    maps = []
    total = len(cells) * len(params.folds)
    with tqdm(total=total, desc="activation maps", unit="map", disable=None, leave=False) as bar:
        for method in params.methods:
            table = cells[cells["method"] == method]
            targets = np.array([classes.index(name) for name in table["predicted"]], dtype=np.int64)
            rows, size, folds = table["row"].to_numpy(np.int64), params.predict.batch_size, []
            for fold in params.folds:
                folds.append(activation.maps_of_run(paths.run(method, fold), store, rows, targets, size, device))
                bar.update(len(table))
            maps.append(torch.stack(folds).mean(dim=0))
    # Networks of another family may have maps of another size.
    side = max(one.shape[-1] for one in maps)
    drawn = [activation.as_bytes(functional.interpolate(one[None], side, mode="bilinear")[0]) for one in maps]
    with files.replacing_folder(paths.EXPLANATIONS) as folder:
        cells.to_csv(folder / "cells.csv", index=False, lineterminator="\n")
        np.save(folder / "maps.npy", np.concatenate(drawn))
    return f"{len(cells)} cells chosen, each with the mean activation map of {len(params.folds)} folds"
