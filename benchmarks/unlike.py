"""How many pictures `predict` marks as unlike the training images: `python -m benchmarks.unlike --root DIR`.

DIR is the folder that holds `training_data/` of C-NMC 2019. A linear probe at 64 px is trained on the report's split in
`.work/unlike/`, which stays: remove the folder to begin anew. Cells of patients whom no fold has seen say how often a
mark is false; some of them, changed on purpose, and pictures of other kinds say how often one is found. Writes
`benchmarks/unlike.csv`. Half an hour on one core of a busy machine.
"""

import argparse
import contextlib
import sys
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image, ImageDraw, ImageFilter, ImageOps
from sklearn.datasets import load_sample_images
from tqdm import tqdm

from benchmarks import workspace
from benchmarks.changes import BATCH, brighter, decoded, seen
from benchmarks.study_tables import markdown
from job.contracts.dataset import BACKGROUND
from job.demo import cells as demo
from job.ensemble.networks import TorchEnsemble
from job.errors import UserError
from job.inference import appearance
from job.seeds import generator

FOLDER = Path(".work/unlike")
TABLE = Path(__file__).with_suffix(".csv")
SETTINGS = {"methods": ["linear_probe"], "folds": [1, 2, 3], "data.pixels": 64, "split.test": "report"}
CHANGED = 80
"""Test cells that are changed, and pictures of every other kind."""


def main() -> int:
    """Train, count, write the table and print it."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.unlike", description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=Path, required=True, help="folder that holds training_data/ of C-NMC 2019")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where the linear probe is trained, or was")
    options = parser.parse_args()
    try:
        workspace.train(options.folder, SETTINGS | {"data.root": str(options.root.resolve())})
        with contextlib.chdir(options.folder):
            ensemble = TorchEnsemble("linear_probe")
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    split = pd.read_csv(options.folder / "data/split.csv")
    files = {role: [options.root / image for image in split.loc[split["role"] == role, "image"]]
             for role in ("test", "unlabelled")}  # fmt: skip
    table = pd.DataFrame([{"pictures": name} | marked(ensemble, drawn) for name, drawn in kinds(files)])
    TABLE.write_text(table.to_csv(index=False, float_format="%.4f", lineterminator="\n"), encoding="utf-8")
    print(markdown(table))
    return 0


def marked(ensemble: TorchEnsemble, pictures: Iterable[Image.Image]) -> dict[str, float]:
    """How many pictures there are, the share that is marked, and the shares by simple facts and by features."""
    manifest = ensemble.manifest
    inputs = (seen(picture, manifest) for picture in pictures)
    problems: list[str] = []
    while batch := list(islice(inputs, min(BATCH, ensemble.most_pixels // manifest.size**2))):
        pixels = np.stack(batch)
        problems += appearance.problems(pixels, manifest.likeness, ensemble.judge(pixels)[1].mean(axis=0))
    features = np.array(["features" in problem for problem in problems])
    facts = np.array(["(there " in problem for problem in problems])
    shares = {"marked": facts | features, "by simple facts": facts, "by features": features}
    return {"number": len(problems)} | {name: float(found.mean()) for name, found in shares.items()}


def kinds(files: dict[str, list[Path]]) -> Iterator[tuple[str, Iterable[Image.Image]]]:
    """The kinds of pictures by name: cells of unseen patients, cells changed on purpose, and what is no such cell."""
    for name, role in {"test cells of unseen patients": "test", "the final part": "unlabelled"}.items():
        if files[role]:
            yield name, map(decoded, tqdm(files[role], desc=name, disable=None))
    order = generator(2019, "unlike").permutation(len(files["test"]))
    chosen = [decoded(files["test"][position]) for position in order[:CHANGED]]
    for name, change in CHANGES.items():
        yield name, map(change, chosen)
    for background, where in ((0, "black"), (230, "a light background")):
        yield f"twelve cells on {where}", (_field(chosen, number, background) for number in range(CHANGED))
    for name, draw in OTHERS.items():
        yield name, (draw(generator(2019, "unlike", name, number)) for number in range(CHANGED))


def _cell(values: np.ndarray) -> np.ndarray:
    """Where the cell is, (height, width, 1)."""
    return values.max(axis=2, keepdims=True) > BACKGROUND


def _over(image: Image.Image, background: Image.Image | int) -> Image.Image:
    """The cell on another background."""
    values = np.asarray(image)
    return Image.fromarray(np.where(_cell(values), values, np.asarray(background, dtype=np.uint8)))


def _among_red_cells(image: Image.Image) -> Image.Image:
    drawn = Image.new("RGB", image.size, (235, 225, 225))
    pen, draw = ImageDraw.Draw(drawn), np.random.default_rng(0)
    for x, y in draw.uniform(0, max(image.size), (30, 2)):
        pen.ellipse((x - 50, y - 50, x + 50, y + 50), fill=(215, 150, 155))
    return _over(image, drawn)


def _hue(image: Image.Image, degrees: float) -> Image.Image:
    hue, saturation, value = image.convert("HSV").split()
    turned = hue.point(lambda level: round(level + degrees / 360 * 256) % 256)
    return Image.merge("HSV", (turned, saturation, value)).convert("RGB")


def _scaled(image: Image.Image, factor: float) -> Image.Image:
    """The cell in another size, on a canvas of the same size."""
    scaled, canvas = ImageOps.scale(image, factor), Image.new("RGB", image.size)
    canvas.paste(scaled, tuple((there - own) // 2 for there, own in zip(image.size, scaled.size, strict=True)))
    return canvas


def _noise(image: Image.Image) -> Image.Image:
    values = np.asarray(image)
    noise = np.random.default_rng(0).normal(0, 10, (*values.shape[:2], 1))
    return Image.fromarray(np.where(_cell(values), values + noise, values).clip(0, 255).astype(np.uint8))


def _half(image: Image.Image) -> Image.Image:
    values = np.array(image)
    values[:, : values.shape[1] // 2] = 0
    return Image.fromarray(values)


def _field(pictures: list[Image.Image], number: int, background: int) -> Image.Image:
    """Twelve of the cells side by side."""
    field = Image.new("RGB", (480, 360), (background,) * 3)
    for place in range(12):
        picture = _over(pictures[(12 * number + place) % len(pictures)], background).resize((120, 120))
        field.paste(picture, (place % 4 * 120, place // 4 * 120))
    return field


CHANGES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "inverted": ImageOps.invert,
    "on a light background": partial(_over, background=230),
    "on a grey background": partial(_over, background=128),
    "on a dim background": partial(_over, background=60),
    "among red cells": _among_red_cells,
    "half as bright": partial(brighter, factor=0.5),
    "half as bright again": partial(brighter, factor=1.5),
    "without colour": lambda image: image.convert("L").convert("RGB"),
    "another hue, by 56 degrees": partial(_hue, degrees=56),
    "another hue, by 21 degrees": partial(_hue, degrees=21),
    "red and blue exchanged": lambda image: Image.fromarray(np.asarray(image)[:, :, ::-1].copy()),
    "twice the size": partial(_scaled, factor=2),
    "1.4 times the size": partial(_scaled, factor=1.4),
    "0.7 times the size": partial(_scaled, factor=0.7),
    "half the size": partial(_scaled, factor=0.5),
    "one half black": _half,
    "blurred by 2 pixels": lambda image: image.filter(ImageFilter.GaussianBlur(2)),
    "noise in the cell": _noise,
}


def _photograph(draw: np.random.Generator) -> Image.Image:
    """A piece of one of the two photographs that scikit-learn brings."""
    values = load_sample_images().images[int(draw.integers(2))]
    top, left = draw.integers(0, values.shape[0] - 300), draw.integers(0, values.shape[1] - 300)
    return Image.fromarray(values[top : top + 300, left : left + 300])


def _square(draw: np.random.Generator) -> Image.Image:
    image = Image.new("RGB", (450, 450))
    image.paste(tuple(int(value) for value in draw.integers(60, 256, 3)), (125, 125, 325, 325))
    return image


def _disc(draw: np.random.Generator) -> Image.Image:
    y, x = np.mgrid[:450, :450] - 225
    noise = draw.integers(0, 256, (450, 450, 3), dtype=np.uint8)
    return Image.fromarray(np.where((np.hypot(x, y) < 110)[..., None], noise, 0).astype(np.uint8))


def _synthetic(draw: np.random.Generator) -> Image.Image:
    return Image.fromarray(demo.draw(demo.sample(("all", "hem")[int(draw.integers(2))], draw, draw), draw))


OTHERS: dict[str, Callable[[np.random.Generator], Image.Image]] = {
    "photographs": _photograph, "plain squares": _square, "discs of noise": _disc,
    "synthetic cells of demo": _synthetic,
}  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
