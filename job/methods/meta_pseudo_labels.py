"""Meta Pseudo Labels (Pham et al. 2021, arXiv:2003.10580): a teacher that learns from how its student does.

Teacher and student train side by side. In every step the teacher draws pseudo-labels for augmented unlabelled images,
the student takes one step on them, and the change of the student's loss on labelled images tells the teacher whether
those labels were good. Besides, the teacher learns from the labelled images, and to predict for an augmented image what
it predicts for the plain one. At the end the student is tuned on the labelled images.

The teacher minimises the student's loss on labelled images after the student's step,

    R(T) = E[ L(S') ],   S' = the student after a step on (images, labels),   labels ~ T(images).

The labels are drawn, so the derivative is that of a likelihood ratio. A constant may be subtracted from L(S') without
changing it, and the student's loss before the step is one that does not depend on the labels:

    dR/dT = E[ (L(S') - L(S)) d log p(labels) ] = E[ (L(S) - L(S')) dCE(T(images), labels) ].

So the teacher's loss is *feedback x cross-entropy of its own labels, summed over the batch*, with
feedback = loss before - loss after: labels that helped become likelier. This is exact for any step of the student; the
dot product of gradients in the paper (derived in its appendix A) is the first order of the same difference. A test
compares it with exact differentiation.
"""

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from job.inference.predict import predict_logits, probabilities
from job.models.network import buffers_kept
from job.seeds import derive
from job.training.batch import Batch, consistency_loss
from job.training.fit import Trainer, train_batch_norm_alone, tune
from job.training.history import PseudoLabels, Trained
from job.training.state import TrainState
from job.training.task import Task


def train(task: Task) -> Trained:
    """Train teacher and student, and tune the student; an epoch is one pass over the unlabelled images."""
    settings = task.params.meta_pseudo_labels
    unlabelled = task.unlabelled(task.params.train.batch_size, settings.augment)
    network = task.fresh_network("teacher")
    student = TrainState.start(task.fresh_network("student"), task.context.device, task.params.train)

    def loss(teacher: TrainState, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """The student learns from the teacher's labels, and the teacher from how the student's loss changes."""
        labelled, plain, noisy = batch.images(1), batch.images(0, augment="none"), batch.images(0)
        on_labelled, on_plain, on_noisy = teacher.forward(labelled, plain, noisy)
        drawn = draw(on_noisy, torch.Generator().manual_seed(derive(batch.seed, "draw")))

        classes = batch.targets(1)
        before = quiet_loss(student.network, labelled, classes)
        (predicted,) = student.forward(noisy)
        student.learn(functional.cross_entropy(predicted, drawn), predicted.argmax(1) == drawn)
        feedback = before - quiet_loss(student.network, labelled, classes)

        ramp = min(1.0, teacher.epoch / settings.ramp_epochs)
        consistency = consistency_loss(on_plain, on_noisy, confidence=settings.confidence, hard=False)
        total = batch.supervised(1, on_labelled) + ramp * settings.consistency * consistency
        return total + teacher_loss(on_noisy, drawn, feedback), batch.correct(1, on_labelled)

    teacher = Trainer(task, "teacher", [unlabelled, task.labelled()], loss).fit(network, {"student": student})
    tuned = tune(task, student.network, "student-tuned", student.fitted(), settings.finetune_epochs)
    # The labels of the trained teacher: during the training they change with every step.
    network.load_state_dict(teacher.state)
    predicted = probabilities(predict_logits(network, task.context, unlabelled.rows))
    times = np.ones(len(predicted), dtype=np.int64)
    return Trained([teacher, tuned], {1: PseudoLabels(unlabelled.rows, predicted, predicted.max(1), times)})


def draw(logits: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Draw a class for every image from the teacher's logits: (N, C) to (N,) int64 on the same device.

    The generator is one on the CPU, so that every device draws alike.
    """
    chances = logits.detach().cpu().softmax(1).nan_to_num(1.0)  # where the training diverges, the loss will say so
    return torch.multinomial(chances, 1, generator=generator).squeeze(1).to(logits.device)


def teacher_loss(logits: torch.Tensor, drawn: torch.Tensor, feedback: torch.Tensor) -> torch.Tensor:
    """The loss whose gradient is an unbiased estimate of dR/dT: scalar.

    The logits, (N, C), are the teacher's for the images that the student stepped on, with the classes `drawn` for them,
    (N,); `feedback` is the student's loss on labelled images before its step minus that after it.
    """
    return feedback.detach() * functional.cross_entropy(logits, drawn, reduction="sum")


def quiet_loss(network: nn.Module, images: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
    """Mean cross-entropy without dropout, with the statistics of the batch in batch norm: scalar.

    Two losses whose difference counts must not differ by the draws of dropout; and after few steps the running
    statistics of batch norm, which stay as they are, describe another network than the one that trains. Computed in
    full precision, whatever that of the training is: the difference of two such losses is small.
    """
    with torch.no_grad(), buffers_kept(network):
        train_batch_norm_alone(network)
        loss = functional.cross_entropy(network(images), classes)
    network.train()
    return loss
