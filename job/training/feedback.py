"""The signal of Meta Pseudo Labels: how a student's step on pseudo-labels changed its loss on true labels.

Pham et al. 2021 (arXiv:2003.10580) teach a teacher to give the pseudo-labels from which a student learns best: the
teacher minimises the student's loss on labelled images after the student's step,

    R(T) = E[ L(S') ],   S' = the student after a step on (images, labels),   labels ~ T(images).

The labels are drawn, so the derivative is that of a likelihood ratio. A constant may be subtracted from L(S') without
changing it, and the student's loss before the step is one that does not depend on the labels:

    dR/dT = E[ (L(S') - L(S)) d log p(labels) ] = E[ (L(S) - L(S')) dCE(T(images), labels) ].

So the teacher's loss is *feedback x cross-entropy of its own labels, summed over the batch*, with
feedback = loss before - loss after: labels that helped become likelier. This is exact for any step of the student; the
dot product of gradients in the paper (derived in its appendix A) is the first order of the same difference. A test
compares it with exact differentiation.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.nn import functional


def draw(logits: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """One class for every image, drawn from the teacher's probabilities: (N, C) to (N,) int64 on the same device.

    Args:
        logits: of the teacher.
        generator: on the CPU, so that every device draws alike.
    """
    return torch.multinomial(logits.detach().cpu().softmax(1), 1, generator=generator).squeeze(1).to(logits.device)


def teacher_loss(logits: torch.Tensor, drawn: torch.Tensor, feedback: torch.Tensor) -> torch.Tensor:
    """The loss whose gradient is an unbiased estimate of dR/dT: scalar.

    Args:
        logits: of the teacher for the images that the student stepped on, (N, C).
        drawn: the classes that were drawn for them, (N,).
        feedback: the student's loss on labelled images before its step minus that after it.
    """
    return feedback.detach() * functional.cross_entropy(logits, drawn, reduction="sum")


@contextmanager
def quiet(network: nn.Module) -> Iterator[None]:
    """Without dropout and stochastic depth, with the statistics of the batch, and leaving no trace in batch norm.

    Two losses whose difference counts must not differ by the draws of dropout; and after few steps the running
    statistics of batch norm describe another network than the one that is training.
    """
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    tracked = [norm.track_running_stats for norm in norms]
    training = network.training
    network.eval()
    for norm in norms:
        norm.train()
        norm.track_running_stats = False
    try:
        yield
    finally:
        for norm, value in zip(norms, tracked, strict=True):
            norm.track_running_stats = value
        network.train(training)


def consistency_loss(weak: torch.Tensor, strong: torch.Tensor, *, confidence: float) -> torch.Tensor:
    """What the teacher says of a noisy image should be what it says of the plain one: mean cross-entropy, scalar.

    The unsupervised term of UDA (Xie et al. 2019, arXiv:1904.12848): soft labels from the plain view, no gradient
    through them, and only images of which the teacher is sure; the others count as 0 in the mean.

    Args:
        weak: logits for the plain images, (N, C).
        strong: logits for their noisy versions, (N, C).
        confidence: least probability of the answer to a plain image.
    """
    target = weak.detach().softmax(1)
    sure = (target.amax(1) >= confidence).to(strong.dtype)
    return (functional.cross_entropy(strong, target, reduction="none") * sure).mean()
