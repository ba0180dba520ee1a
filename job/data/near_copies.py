"""Pictures of the same cell that are not copies pixel by pixel: cropped a few pixels apart, or compressed again.

Exact digests miss them, and in C-NMC they stand under the numbers of several patients. Pairs are proposed by small
sketches of the cells (nearest neighbours, scikit-learn) and decided by the cells themselves: the outlines must cover
each other, and the fine structure inside must agree. Both are measured after the best shift, by cross-correlation.
"""

import os
from collections.abc import Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from itertools import repeat
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy import fft
from scipy.ndimage import binary_erosion, gaussian_filter
from sklearn.neighbors import radius_neighbors_graph
from tqdm import tqdm

from job.contracts.dataset import BACKGROUND
from job.data import images

Grey = npt.NDArray[np.float32]

LEAST_OVERLAP = 0.8
"""Least share of the joint area that two outlines must have in common."""

_PROPOSED = 0.6  # correlation of two sketches from which on a pair is looked at
_SKETCH = 32  # side of a sketch
_VIEW = 464  # side of what is compared, centred on the cell, in pixels of a file of C-NMC; holds every cell there
_HALF = _VIEW // 2  # comparisons run at half resolution
_SMALL = 150  # median side of a cell in pixels below which pictures are enlarged; that of C-NMC is 223
_RIM = 6  # pixels at half resolution that are left out at the outline: its brightness is alike in most cells
_FEW = 200  # pairs that one thread compares in two seconds
_FINE, _COARSE = 0.7, 5.0  # the band of structure that is compared, as standard deviations of two blurs, in pixels


@dataclass(frozen=True)
class NearCopy:
    """Two positions in a list of images that show the same cell."""

    one: int  # the smaller position
    other: int
    overlap: float  # share of the joint area of the two outlines that both have, 0 to 1
    agreement: float  # correlation of the fine structure inside both, -1 to 1


def sketch(grey: Image.Image, zoom: int) -> Grey:
    """A cell as (1024,) float32 of length 1: brightness less the cell's mean, nothing outside, centred on the cell.

    All zeros where there is no cell on a dark background: an empty picture, or one that is filled to all its edges.
    """
    if images.cell_box(grey)[2:] in ((0, 0), grey.size):
        return np.zeros(_SKETCH**2, dtype=np.float32)
    small = np.asarray(_centred(grey, zoom).resize((_SKETCH, _SKETCH), Image.Resampling.BOX), dtype=np.float32)
    vector = _inside(small)[0].ravel()
    return vector / (float(np.linalg.norm(vector)) or 1)


def find(paths: Sequence[Path], bar: float, cell: float) -> list[NearCopy]:
    """Every pair of near copies among these files, which `images.read` accepts; exact copies are among them.

    `bar`, above 0, is the least agreement of the fine structure. In C-NMC, every link between patients at 0.7 is a pair
    that a person takes for one cell; at 0.65 one is not, and at 0.8 one such link is lost. `cell` is the median side of
    a cell's box in pixels: small ones are enlarged, because too little of them lies inside the rim.
    """
    zoom = enlarged(cell)
    pairs = measured(paths, propose(sketches(paths, zoom)), zoom)
    return [pair for pair in pairs if pair.overlap >= LEAST_OVERLAP and pair.agreement >= bar]


def enlarged(cell: float) -> int:
    """How many times pictures are enlarged where this is the median side of a cell's box in pixels: 1, 2, 4 or 8."""
    return next((zoom for zoom in (1, 2, 4) if zoom * cell >= _SMALL), 8)


def sketches(paths: Sequence[Path], zoom: int) -> Grey:
    """The sketch of every file, in their order: (N, 1024)."""
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as threads:  # decoding and resizing release the lock
        drawn = threads.map(lambda path: sketch(_grey(path), zoom), paths)
        return np.stack(list(tqdm(drawn, total=len(paths), desc="sketches", unit="image", disable=None)))


def measured(paths: Sequence[Path], pairs: npt.NDArray[np.int64], zoom: int) -> list[NearCopy]:
    """These pairs of positions, (pairs, 2), with what they have in common, whether they are near copies or not."""
    workers = len(os.sched_getaffinity(0))
    # Processes use all cores, but take seconds to start.
    pool: Executor = ThreadPoolExecutor(1) if len(pairs) < _FEW else ProcessPoolExecutor(workers, get_context("spawn"))
    with pool:
        # Sorted by the first image, so that a process decodes it once for all its pairs.
        sides = ([str(paths[position]) for position in side] for side in pairs.T)
        compared = pool.map(_compare_files, *sides, repeat(zoom), chunksize=max(1, len(pairs) // (8 * workers)))
        bars = tqdm(compared, total=len(pairs), desc="near copies", unit="pair", disable=None)
        return [NearCopy(int(one), int(other), *pair) for (one, other), pair in zip(pairs, bars, strict=True)]


def propose(sketches: Grey) -> npt.NDArray[np.int64]:
    """Pairs of positions whose sketches are alike, (pairs, 2), the smaller one first, in ascending order."""
    drawn = np.flatnonzero(np.abs(sketches).sum(axis=1) > 0)
    if len(drawn) < 2:
        return np.empty((0, 2), dtype=np.int64)
    # Of vectors of length 1 the distance follows from the correlation.
    graph = radius_neighbors_graph(sketches[drawn], np.sqrt(2 - 2 * _PROPOSED), include_self=False).tocoo()
    pairs = drawn[np.stack([graph.row, graph.col], axis=1)]
    pairs = pairs[pairs[:, 0] < pairs[:, 1]]
    return np.asarray(pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))])


@dataclass(frozen=True)
class View:
    """A cell at half resolution: where it is, its fine structure, and its spectrum."""

    cell: npt.NDArray[np.bool_]
    structure: Grey
    spectrum: npt.NDArray[np.complex64]


def view(grey: Image.Image, zoom: int) -> View:
    """What is compared of a grey picture."""
    shrink = Image.Resampling.BOX if zoom < 4 else Image.Resampling.BICUBIC
    values = np.asarray(_centred(grey, zoom).resize((_HALF, _HALF), shrink), dtype=np.float32)
    flat, cell = _inside(values)
    return View(cell, gaussian_filter(values, _FINE) - gaussian_filter(values, _COARSE), fft.rfft2(flat))


def compare(one: View, other: View) -> tuple[float, float]:
    """Overlap of the outlines of two cells, and agreement of their fine structure, after the best shift.

    The overlap is the share of the joint area, 0 to 1. The agreement is 0 where the outlines do not cover each other.
    """
    product = fft.irfft2(one.spectrum * np.conj(other.spectrum), s=one.cell.shape)
    shift = np.unravel_index(int(product.argmax()), product.shape)
    cell = np.roll(other.cell, shift, axis=(0, 1))
    structure = np.roll(other.structure, shift, axis=(0, 1))
    both = one.cell & cell
    overlap = float(both.sum() / max(1, (one.cell | cell).sum()))
    if overlap < LEAST_OVERLAP:
        return overlap, 0.0
    interior = binary_erosion(both, iterations=_RIM)
    x, y = one.structure[interior], structure[interior]
    if len(x) < _SKETCH**2 // 4 or not (x.std() and y.std()):
        return overlap, 0.0
    return overlap, float(np.corrcoef(x, y)[0, 1])


def _compare_files(one: str, other: str, zoom: int) -> tuple[float, float]:
    return compare(_read(one, zoom), _read(other, zoom))


@lru_cache(maxsize=64)
def _read(path: str, zoom: int) -> View:
    return view(_grey(Path(path)), zoom)


def _grey(path: Path) -> Image.Image:
    return images.decode(path.read_bytes())[0].convert("L")


def _centred(grey: Image.Image, zoom: int) -> Image.Image:
    """A square of `_VIEW / zoom` pixels with the centre of the cell's box, or of the image where there is none."""
    left, top, width, height = images.cell_box(grey)
    if not width:
        left, top, width, height = (0, 0, *grey.size)
    side = _VIEW // zoom
    x, y = left + (width - side) // 2, top + (height - side) // 2
    return grey.crop((x, y, x + side, y + side))


def _inside(values: Grey) -> tuple[Grey, npt.NDArray[np.bool_]]:
    """Values less their mean inside the cell and 0 outside, and where the cell is."""
    cell = values > BACKGROUND
    mean = values[cell].mean() if cell.any() else 0.0
    return np.where(cell, values - mean, 0).astype(np.float32), cell
