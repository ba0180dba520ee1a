"""One synthetic cell: a stained nucleus on black, drawn to behave like a C-NMC 2019 image.

The colours were measured on public C-NMC images: a mean of (67, 27, 77), variation within a cell mostly along one axis
from dark violet to light mauve and a little along a second one from red to blue. Published images hold a segmented
cell on pure black, so contours here are sharp, and faults of the segmentation (straight cuts, notches, attached
debris) are drawn too. No pixel of a real image is used.
"""

import math
from dataclasses import dataclass

import numpy as np
import scipy.fft
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

SIDE = 450  # pixels: the labelled C-NMC images are 450x450

Field = NDArray[np.float32]


def _planes(red: float, green: float, blue: float) -> Field:
    """A colour of shape (3, 1, 1): planes of colour are several times faster to compute with than pixels of it."""
    return np.array([red, green, blue], dtype=np.float32)[:, None, None]


_STAIN = _planes(70.0, 29.0, 80.0)
_LIGHT = _planes(0.80, 0.43, 0.41)  # first axis of colour within a cell: dark to light
_BLUE = _planes(-0.52, 0.18, 0.83)  # second axis within a cell: red to blue
_BATCH = _planes(0.68, 0.41, 0.60)  # first axis between cells: exposure of the slide
_HALO = _planes(125.0, 105.0, 122.0)  # out-of-focus light beside the cell
_DEBRIS = _planes(100.0, 66.0, 92.0)  # neighbouring cytoplasm that the segmentation kept
_ANGLES = 1024  # the contour is a table of radii at this many angles
_THETA = np.arange(_ANGLES) * (2 * np.pi / _ANGLES)
_DEBRIS_REACH = 28  # pixels beyond the contour

# Logarithm of the longest side of the box in pixels: mean, standard deviation between patients and within one.
_LOG_SIDE = {"all": (5.436, 0.070, 0.100), "hem": (5.250, 0.080, 0.135)}
# The other traits are Gaussian with variance 1 in each class; these are the means of ALL less those of HEM. Blasts have
# finer, paler, less clumped chromatin, nucleoli and a rougher contour. Exposure and blur tell nothing.
_SEPARATION = {
    "grain": -1.5, "texture": -1.5, "clumping": -1.1, "nucleoli": 1.0,
    "roughness": 0.35, "blueness": 0.2, "exposure": 0.0, "blur": 0.0,
}  # fmt: skip
_LOADING = 0.6  # correlation of a cell's trait with its patient's mean: 36 % of the variance lies between patients


@dataclass(frozen=True)
class Cell:
    """What a cell looks like, apart from chance."""

    side: float  # longest side of the contour's bounding box in pixels, before faults of the segmentation
    grain: float  # scale of the chromatin texture in pixels (standard deviation of the smoothing)
    texture: float  # strength of the chromatin texture in grey levels
    clumping: float  # skew of the chromatin: dense clumps with small light gaps; near 0 the texture is Gaussian
    nucleoli: float  # brightness of the nucleoli in grey levels
    roughness: float  # amplitude of the fine contour as a share of the radius
    exposure: float  # brightness of the slide in grey levels, 0 on average
    blueness: float  # shift from red to blue stain in grey levels, 0 on average
    blur: float  # defocus in pixels (standard deviation)


def sample(label: str, person: np.random.Generator, rng: np.random.Generator) -> Cell:
    """Draw the traits of one cell of the class `all` or `hem`.

    `person` is the patient's generator, in the same state for each of the patient's cells, `rng` the cell's.
    """
    mean, between, within = _LOG_SIDE[label]
    # A few healthy cells are as large as blasts: skew 1 in the public set, none among blasts.
    deviation = rng.standard_gamma(4.0) / 2 - 2 if label == "hem" else rng.standard_normal()
    side = math.exp(mean + between * person.standard_normal() + within * deviation)
    sign = 0.5 if label == "all" else -0.5
    z = {
        trait: sign * gap + _LOADING * person.standard_normal() + math.sqrt(1 - _LOADING**2) * rng.standard_normal()
        for trait, gap in _SEPARATION.items()
    }
    return Cell(
        side=min(max(side, 110.0), 420.0),
        grain=5.3 * math.exp(0.28 * z["grain"]),
        texture=6.5 * math.exp(0.33 * z["texture"]),
        clumping=min(0.45 * math.exp(0.35 * z["clumping"]), 0.9),
        nucleoli=10.0 * math.exp(0.4 * z["nucleoli"]),
        roughness=0.006 * math.exp(0.4 * z["roughness"]),
        exposure=11.0 * z["exposure"],
        blueness=2.7 * z["blueness"],
        blur=1.2 * math.exp(0.3 * z["blur"]),
    )


def draw(cell: Cell, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Draw a cell as an RGB image of shape (450, 450, 3).

    The background is exactly 0, every pixel of the cell above 0 in each channel.
    """
    contour = _contour(cell, rng)
    centre = SIDE / 2 + np.clip(rng.normal(0.0, 3.0, size=2), -10, 10)
    soiled = rng.random() < 1 / 8
    outline = contour * np.array([np.sin(_THETA), np.cos(_THETA)])
    margin = _DEBRIS_REACH if soiled else 1
    top, left = np.maximum(0, centre + outline.min(axis=1) - margin).astype(int)
    bottom, right = np.minimum(SIDE, centre + outline.max(axis=1) + margin + 1).astype(int)
    y = (np.arange(top, bottom) - centre[0]).astype(np.float32)[:, None]
    x = (np.arange(left, right) - centre[1]).astype(np.float32)[None, :]
    angle = (np.arctan2(y, x) * np.float32(_ANGLES / (2 * np.pi))).astype(np.int32) % _ANGLES
    depth = contour[angle] - np.hypot(x, y)

    light, blue = _nucleus(cell, y, x, rng)
    _add_edge(light, blue, depth, angle, rng)
    colour = _STAIN + cell.exposure * _BATCH + light * _LIGHT + blue * _BLUE
    if rng.random() < 1 / 12:
        _draw_halo(colour, depth, angle, rng)
    mask = depth > 0
    if soiled:
        mask |= _draw_debris(colour, depth, angle, rng)
    if rng.random() < 1 / 3:
        mask &= ~_cut_off(contour, y, x, rng)

    image = np.zeros((SIDE, SIDE, 3), dtype=np.uint8)
    image[top:bottom, left:right] = np.moveaxis(np.where(mask, np.clip(np.rint(colour), 1, 255), 0), 0, 2)
    return image


def _contour(cell: Cell, rng: np.random.Generator) -> Field:
    """Radius in pixels at each of `_ANGLES` angles, scaled so that the longest side of its box is `cell.side`."""
    order = np.arange(2, 60)
    amplitude = np.where(order < 6, 0.3 / order**1.7, cell.roughness * (6 / order) ** 1.2)
    wave = np.cos(np.outer(order, _THETA) + rng.uniform(0, 2 * np.pi, size=(order.size, 1)))
    radius = 1 + (amplitude * rng.normal(size=order.size)) @ wave
    for _ in range(rng.poisson(1.6)):  # notches and bulges
        height, width = np.clip(rng.normal(-0.03, 0.08), -0.25, 0.12), rng.uniform(0.04, 0.35)
        radius += height * _bump(rng.integers(_ANGLES), width)
    radius = np.maximum(radius, 0.4)
    extent = max(np.ptp(radius * np.cos(_THETA)), np.ptp(radius * np.sin(_THETA)))
    contour: Field = (radius * (cell.side / extent)).astype(np.float32)
    return contour


def _bump(at: int | np.integer, width: float) -> Field:
    """A Gaussian of height 1 around the angle number `at`, with its standard deviation `width` in radians."""
    steps = np.abs((np.arange(_ANGLES) - at + _ANGLES // 2) % _ANGLES - _ANGLES // 2)
    bump: Field = np.exp(-0.5 * (steps * (2 * np.pi / _ANGLES / width)) ** 2).astype(np.float32)
    return bump


def _texture(shape: tuple[int, int], scale: float, rng: np.random.Generator) -> Field:
    """Random field of mean 0 and variance 1 whose structures have the size `scale` in pixels, made in Fourier space."""
    height, width = (scipy.fft.next_fast_len(size, real=True) for size in shape)
    down, across = (f.astype(np.float32) for f in (np.fft.fftfreq(height), np.fft.rfftfreq(width)))
    decay = [np.exp(-2 * (np.pi * np.float32(scale) * f) ** 2) for f in (down, across)]
    white = rng.standard_normal((down.size, across.size, 2), dtype=np.float32).view(np.complex64)[..., 0]
    white *= np.hypot(*np.ix_(down, across)) * np.outer(*decay)
    field: Field = scipy.fft.irfft2(white, s=(height, width))[: shape[0], : shape[1]]
    field -= field.mean()
    field /= field.std()
    return field


def _nucleus(cell: Cell, y: Field, x: Field, rng: np.random.Generator) -> tuple[Field, Field]:
    """Chromatin, nucleoli and uneven stain along the light and the blue axis, two fields of shape (H, W)."""
    shape = (y.size, x.size)
    chromatin = np.exp(np.float32(cell.clumping) * _texture(shape, cell.grain, rng))
    light = cell.texture / chromatin.std() * (chromatin - chromatin.mean())
    for _ in range(rng.poisson(3.0)):
        light += cell.nucleoli * rng.uniform(0.5, 1.5) * _spot(y, x, 0.3 * cell.side, rng)
    light = gaussian_filter(light, cell.blur, truncate=3.0)
    uneven, grit = _texture(shape, 26.0, rng), rng.standard_normal(shape, dtype=np.float32)
    light += np.float32(7.5) * uneven + np.float32(0.9) * grit
    return light, cell.blueness + np.float32(2.2) * _texture(shape, 12.0, rng)


def _spot(y: Field, x: Field, spread: float, rng: np.random.Generator) -> Field:
    """An elongated Gaussian of height 1, at most `spread` pixels off the centre along each axis."""
    down, right, turn = rng.uniform(-spread, spread), rng.uniform(-spread, spread), rng.uniform(0, math.pi)
    along = ((x - right) * math.cos(turn) + (y - down) * math.sin(turn)) / rng.uniform(4.0, 10.0)
    across = ((y - down) * math.cos(turn) - (x - right) * math.sin(turn)) / rng.uniform(3.0, 6.0)
    return np.exp(-0.5 * (along**2 + across**2), dtype=np.float32)


def _add_edge(light: Field, blue: Field, depth: Field, angle: NDArray[np.int32], rng: np.random.Generator) -> None:
    """Darker blue towards the contour, thin cytoplasm on one side and a bright rim; in place."""
    band = np.exp(-0.5 * (depth / np.float32(rng.uniform(5.0, 11.0))) ** 2)
    blue += np.float32(rng.uniform(2.0, 7.0)) * band
    light -= np.float32(rng.uniform(0.0, 6.0)) * band
    side = _bump(rng.integers(_ANGLES), rng.uniform(0.5, 1.2))[angle]
    cytoplasm = side * np.clip((np.float32(rng.uniform(6.0, 18.0)) - depth) / 3, 0, 1)
    light += np.float32(rng.uniform(-4.0, 14.0)) * cytoplasm
    light += np.float32(rng.uniform(6.0, 36.0)) * np.clip((np.float32(4.0) - depth) / 3, 0, 1)


def _draw_halo(colour: Field, depth: Field, angle: NDArray[np.int32], rng: np.random.Generator) -> None:
    """Out-of-focus light along one side, inside the contour; in place."""
    crescent = rng.uniform(3.0, 8.0) * (0.3 + _bump(rng.integers(_ANGLES), rng.uniform(0.5, 1.5)))[angle]
    opacity = np.clip((crescent - depth) / 4, 0, 0.8).astype(np.float32)
    colour += opacity * (_HALO - colour)


def _draw_debris(colour: Field, depth: Field, angle: NDArray[np.int32], rng: np.random.Generator) -> NDArray[np.bool_]:
    """Something attached outside the contour; changes `colour` in place, returns the added pixels as a mask (H, W)."""
    at, height = rng.integers(_ANGLES), rng.uniform(8.0, _DEBRIS_REACH)
    ragged = np.sum([_bump(at + rng.integers(-50, 50), rng.uniform(0.02, 0.15)) for _ in range(4)], axis=0)
    debris: NDArray[np.bool_] = (depth <= 0) & (depth > 3 - height * np.minimum(ragged, 1)[angle])
    grey = rng.normal(0.0, 8.0) + 5.0 * _texture((depth.shape[0], depth.shape[1]), 6.0, rng)
    np.copyto(colour, _DEBRIS + grey * _LIGHT, where=debris)
    return debris


def _cut_off(contour: Field, y: Field, x: Field, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Mask of shape (H, W) of what one or two straight cuts take off, mostly along the axes of the image."""
    gone = np.zeros((y.size, x.size), dtype=np.bool_)
    for _ in range(rng.integers(1, 3)):
        turn = rng.integers(4) * math.pi / 2 + (rng.random() < 0.3) * math.pi / 4
        reach = contour[int(turn / (2 * math.pi) * _ANGLES)] * rng.uniform(0.84, 1.0)
        gone |= x * math.cos(turn) + y * math.sin(turn) > reach
    return gone
