"""Which of a teacher's answers a student learns from, and as what."""

import numpy as np
import numpy.typing as npt
import torch
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

from job.errors import UserError

Floats = npt.NDArray[np.float64]

_TEMPERATURES = (0.05, 20.0)


def temperature(logits: Floats, classes: npt.NDArray[np.int64]) -> float:
    """The temperature that makes a network's probabilities fit what it got right: temperature scaling.

    Guo et al. 2017 (arXiv:1706.04599): the least cross-entropy of `softmax(logits / T)` on images that the network did
    not learn from. Bounded, because a network that is right every time would ask for a temperature of nothing.

    Args:
        logits: (N, C).
        classes: (N,) class numbers.
    """

    def loss(log_t: float) -> float:
        return -float(log_softmax(logits / np.exp(log_t), axis=1)[np.arange(len(classes)), classes].mean())

    low, high = np.log(_TEMPERATURES)
    return float(np.exp(minimize_scalar(loss, bounds=(low, high), method="bounded").x))


def select(probabilities: npt.NDArray[np.floating], *, confidence: float, balance: bool) -> npt.NDArray[np.int64]:
    """Positions of the images that a student learns from, in ascending order; a position may be there more than once.

    Args:
        probabilities: of the teacher, (N, C).
        confidence: least probability of the answer; a threshold on two classes means something from 0.7 on.
        balance: as many images of every answered class: the most confident of a common class, those of a scarce class
            repeated, as in the source of Noisy Student. The number of images stays that of the filter.

    Raises:
        UserError: no answer is as confident as that.
    """
    best, answers = probabilities.max(1), probabilities.argmax(1)
    kept = np.flatnonzero(best >= confidence)
    if len(kept) == 0:
        raise UserError(
            f"noisy_student.confidence={confidence}: the most confident pseudo-label has {best.max():.3f}; lower it"
        )
    if not balance:
        return kept
    present = np.unique(answers[kept])
    parts = []
    for number, part in zip(present, np.array_split(kept, len(present)), strict=True):
        members = kept[answers[kept] == number]
        ranked = members[np.argsort(-best[members], kind="stable")]
        parts.append(np.resize(ranked, len(part)))
    return np.sort(np.concatenate(parts))


def targets(logits: torch.Tensor, *, labels: str, temperature: float) -> torch.Tensor:
    """What a student is asked to say: the answer (N,) int64 when `hard`, the probabilities (N, C) when `soft`.

    Args:
        logits: of the teacher, (N, C).
        labels: `hard` or `soft`.
        temperature: of soft labels; below 1 sharpens them, above 1 flattens them.
    """
    return logits.argmax(1) if labels == "hard" else (logits.double() / temperature).softmax(1).float()
