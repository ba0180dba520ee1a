"""Changes of a picture that mean nothing, and how many calls of an ensemble they turn; see `benchmarks.steadiness`."""

import io
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from PIL import Image
from tqdm import tqdm

from job.contracts import paths
from job.data import images, tree
from job.data.images import Pixels
from job.ensemble import networks
from job.ensemble.scoring import Manifest
from job.errors import UserError
from job.evaluation import votes
from job.files import read_json
from job.inference import runs

BATCH = 64


class Networks:
    """The folds of a finished ensemble, as `predict` loads them, less what tells strange pictures apart.

    So it takes runs that were made before `predict` abstained on these.
    """

    def __init__(self, run: Path, method: str) -> None:
        """`run` is the folder that holds `ensembles/` and `runs/`; a UserError names a file that is missing."""
        described = read_json(run / paths.ensemble(method) / "ensemble.json")
        folds = [member["fold"] for member in described["members"]]
        folders = [run / paths.run(method, fold) for fold in folds]
        for folder, member in zip(folders, described["members"], strict=True):
            networks._check(folder / runs.WEIGHTS, member["weights_sha256"])
        every = [read_json(folder / runs.FACTS) for folder in folders]
        first, device = every[0], torch.device("cpu")
        self.manifest = Manifest(method, folds, described["classes"], first["size"], first["crop"], first["center"])
        torch.set_num_threads(first["threads"])
        normalise = runs.normalise(first, device)
        self.members = [
            networks.Member(
                runs.load_network(own, folder / runs.WEIGHTS, device), _nowhere, normalise, tta=described["views"] > 1
            )
            for folder, own in zip(folders, every, strict=True)
        ]

    @torch.inference_mode()
    def judge(self, pixels: list[Pixels]) -> npt.NDArray[np.float64]:
        """Probabilities of every member: (members, N, classes)."""
        size = max(1, min(BATCH, 400_000 // self.manifest.size**2))
        batches = [torch.from_numpy(np.stack(pixels[start : start + size])) for start in range(0, len(pixels), size)]
        return np.stack([
            np.concatenate([member(batch)[0].double().numpy() for batch in batches]) for member in self.members
        ])  # fmt: skip


def _nowhere(features: torch.Tensor) -> torch.Tensor:
    """In place of a distance that nobody asks for."""
    return features[:, 0]


Change = Callable[[Image.Image, Manifest], Pixels]
Unseen = Callable[[Sequence[str], Sequence[int]], npt.NDArray[np.bool_]]


def seen(image: Image.Image, manifest: Manifest, aside: int = 0) -> Pixels:
    """What the networks see of an image, as `images.read` makes it; its crop moved right and down by some pixels."""
    square = images._square(image.size, images.cell_box(image), manifest.crop, manifest.center)
    left, top, right, bottom = (end + aside for end in square)
    cut = image.crop((left, top, right, bottom))
    return np.asarray(cut.resize((manifest.size, manifest.size), Image.Resampling.BILINEAR))


def brighter(image: Image.Image, factor: float) -> Image.Image:
    """An image with every value multiplied."""
    return image.point(lambda value: min(255, round(factor * value)))


def _compressed(image: Image.Image) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=75)
    return Image.open(buffer).convert("RGB")


CHANGES: dict[str, Change] = {
    "2 pixels aside": lambda image, manifest: seen(image, manifest, 2),
    "4 pixels aside": lambda image, manifest: seen(image, manifest, 4),
    "turned by 90 degrees": lambda image, manifest: np.rot90(seen(image, manifest), 1),
    "turned by 180 degrees": lambda image, manifest: np.rot90(seen(image, manifest), 2),
    "turned by 270 degrees": lambda image, manifest: np.rot90(seen(image, manifest), 3),
    "mirrored": lambda image, manifest: np.fliplr(seen(image, manifest)),
    "0.9 times as bright": lambda image, manifest: seen(brighter(image, 0.9), manifest),
    "1.1 times as bright": lambda image, manifest: seen(brighter(image, 1.1), manifest),
    "JPEG of quality 75": lambda image, manifest: seen(_compressed(image), manifest),
}


def of_cells(ensemble: Networks, cells: pd.DataFrame, root: Path) -> pd.DataFrame:
    """A row per change: what it does to the calls of these cells, which no fold learned from."""
    pictures = [decoded(root / image) for image in tqdm(cells["image"], desc="cells", disable=None)]
    unseen = np.ones((len(ensemble.members), len(pictures)), dtype=np.bool_)
    truth, before = cells["label"].tolist(), ensemble.judge([seen(each, ensemble.manifest) for each in pictures])
    rows = []
    for name, change in tqdm(CHANGES.items(), desc="changes", disable=None):
        after = ensemble.judge([change(each, ensemble.manifest) for each in pictures])
        rows.append({"change": name} | _difference(ensemble.manifest, before, after, unseen, truth))
    return pd.DataFrame(rows)


def of_files(ensemble: Networks, unseen: Unseen, root: Path, originals: Path) -> pd.DataFrame:
    """The row of files in another format: each against the one in `root` of the same name, without the extension.

    Raises:
        UserError: there is none that some fold did not learn from.
    """
    pairs = {}
    for file in tree.gather([originals])[0]:
        name = file.relative_to(originals)
        copies = [path for suffix in tree.SUFFIXES if (path := root / name.with_suffix(suffix)).is_file()]
        pairs |= {copy.relative_to(root).as_posix(): file for copy in copies}
    by = unseen(list(pairs), ensemble.manifest.members)
    kept = by.any(axis=0)
    if not kept.any():
        raise UserError(
            f"--originals {originals}: no file has the name of an image of {root} that a fold did not learn"
        )
    chosen = [pair for pair, keep in zip(pairs.items(), kept, strict=True) if keep]
    before, after = (
        ensemble.judge([seen(decoded(path), ensemble.manifest) for path in files])
        for files in ([root / image for image, _ in chosen], [file for _, file in chosen])
    )
    return pd.DataFrame([{"change": "the original file"} | _difference(ensemble.manifest, before, after, by[:, kept])])


def decoded(path: Path) -> Image.Image:
    """An image file in colour; a UserError where it cannot be read."""
    try:
        return images.decode(path.read_bytes())[0]
    except (OSError, images.UnreadableImageError) as error:
        raise UserError(f"{path} cannot be read: {error}") from None


def _difference(
    manifest: Manifest,
    before: npt.NDArray[np.float64],
    after: npt.NDArray[np.float64],
    unseen: npt.NDArray[np.bool_],
    truth: Sequence[str] = (),
) -> dict[str, object]:
    """Calls that differ, and the mean difference of the probabilities, by the folds that did not learn from a cell."""
    calls, p = [], []
    for values in (before, after):
        each = [votes.majority(values[by][:, [cell]]) for cell, by in enumerate(unseen.T)]
        calls.append(np.array([vote.predicted[0] for vote in each]))
        p.append(np.array([values[by, cell].mean(axis=0) for cell, by in enumerate(unseen.T)]))
    row = {"cells": len(calls[0]), "calls that flip": float((calls[0] != calls[1]).mean())}
    row |= {f"to {name}": float(((calls[0] != calls[1]) & (calls[1] == number)).mean())
            for number, name in enumerate(manifest.classes)}  # fmt: skip
    row |= {"mean difference of p": float(np.abs(p[1] - p[0])[:, 0].mean())}
    right = [np.mean([manifest.classes[call] == name for call, name in zip(part, truth, strict=True)]) for part in calls
             ] if truth else []  # fmt: skip
    return row | ({"accuracy before": float(right[0]), "after": float(right[1])} if truth else {})
