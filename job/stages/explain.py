"""Stage `explain`: the cells that the errors page shows, and where the folds looked."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from tqdm import tqdm

from job import files, params
from job.contracts import paths
from job.contracts.split import Rows, read_split
from job.evaluation import gallery
from job.inference import runs, runtime
from job.inference.activation import grad_cam
from job.inference.pixels import Normalise, PixelStore, in_batches


def run() -> str:
    """Write `results/explanations/{cells.csv, maps.npy}`; the closing sentence.

    `cells.csv` has the columns of `gallery.cells` and `row`, the image's row in the pixel store. `maps.npy` is
    (cells, h, w) uint8: for the class that the majority predicted, the mean of the folds' activation maps, its highest
    value 255.

    Raises:
        UserError: an input is missing.
    """
    values = params.load()
    device = runtime.setup(values.train, keep_memory=values.machine.keep_memory)
    classes = tuple(files.read_json(paths.EVALUATION)["classes"])
    text = dict.fromkeys(("model", "role", "image", "label", "predicted"), str)
    predictions = pd.read_csv(files.existing(paths.RESULT_PREDICTIONS), dtype=text, keep_default_na=False)
    cells = gallery.cells(predictions, values.methods, classes, values.explain.cells)
    split = read_split(paths.SPLIT, classes).table.set_index("image")
    cells["row"] = split.loc[cells["image"], "row"].to_numpy()
    store = PixelStore.open(paths.PIXELS)

    parts = []
    with tqdm(
        total=len(cells) * len(values.folds), desc="activation maps", unit="map", disable=None, leave=False
    ) as bar:
        for method in values.methods:
            own = cells[cells["method"] == method]
            targets = np.array([classes.index(name) for name in own["predicted"]], dtype=np.int64)
            folds = []
            for fold in values.folds:
                folder = paths.run(method, fold)
                rows = own["row"].to_numpy(np.int64)
                folds.append(_maps(folder, store, rows, targets, values.predict.batch_size, device))
                bar.update(len(own))
            parts.append(torch.stack(folds).mean(dim=0))
    maps = torch.cat(parts)
    highest = maps.amax(dim=(1, 2), keepdim=True).clamp_min(torch.finfo(maps.dtype).tiny)
    with files.replacing_folder(paths.EXPLANATIONS) as folder:
        cells.to_csv(folder / "cells.csv", index=False, lineterminator="\n")
        np.save(folder / "maps.npy", (255 * maps / highest).round().to(torch.uint8).numpy())
    return f"{len(cells)} cells chosen, each with the mean activation map of {len(values.folds)} folds"


def _maps(
    folder: Path, store: PixelStore, rows: Rows, targets: npt.NDArray[np.int64], batch: int, device: torch.device
) -> torch.Tensor:
    """One fold's maps of these rows, each for its target class, (B, h, w) on the CPU."""
    facts = runs.read_facts(folder)
    network = runs.load_network(facts, folder / runs.WEIGHTS, device)
    normalise = Normalise.of(tuple(facts["mean"]), tuple(facts["std"]), device)
    parts = []
    for part in in_batches(np.arange(len(rows)), batch):
        pixels = normalise(store.gather(rows[part], device))
        parts.append(grad_cam(network, pixels, torch.from_numpy(targets[part]).to(device)).cpu())
    return torch.cat(parts)
