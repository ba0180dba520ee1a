"""The feedback of Meta Pseudo Labels against exact differentiation, on a problem small enough for it."""

import itertools

import pytest
import torch
from torch import nn
from torch.nn import functional

from job.errors import UserError
from job.methods.meta_pseudo_labels import draw, quiet_loss, teacher_loss, train
from job.training.batch import consistency_loss
from tests.training.test_methods import small_task

IMAGES, FEATURES, CLASSES, RATE = 3, 4, 3, 0.7


@pytest.fixture
def problem():
    """Linear teacher and student: every draw of the labels can be tried."""
    rng = torch.Generator().manual_seed(0)

    def normal(*shape):
        return torch.randn(*shape, generator=rng, dtype=torch.float64)

    unlabelled, labelled = normal(IMAGES, FEATURES), normal(5, FEATURES)
    truth = torch.randint(CLASSES, (5,), generator=rng)
    return unlabelled, labelled, truth, normal(FEATURES, CLASSES).requires_grad_(), normal(FEATURES, CLASSES)


def stepped(student, unlabelled, labels):
    student = student.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(functional.cross_entropy(unlabelled @ student, labels), student)
    return (student - RATE * gradient).detach()


def all_draws(logits):
    """Every way to draw the labels, with its probability."""
    for labels in itertools.product(range(CLASSES), repeat=IMAGES):
        drawn = torch.tensor(labels)
        yield drawn, logits.log_softmax(1)[torch.arange(IMAGES), drawn].sum().exp()


def test_the_feedback_is_the_gradient_of_the_students_loss_after_its_step(problem):
    unlabelled, labelled, truth, teacher, student = problem

    def loss(weights):
        return functional.cross_entropy(labelled @ weights, truth)

    expected_loss = sum(p * loss(stepped(student, unlabelled, y)) for y, p in all_draws(unlabelled @ teacher))
    (exact,) = torch.autograd.grad(expected_loss, teacher)
    estimate = torch.zeros_like(exact)
    for drawn, probability in all_draws(unlabelled @ teacher):
        feedback = loss(student) - loss(stepped(student, unlabelled, drawn))
        (gradient,) = torch.autograd.grad(teacher_loss(unlabelled @ teacher, drawn, feedback), teacher)
        estimate += probability.detach() * gradient
    assert torch.allclose(estimate, exact, atol=1e-12)
    assert exact.abs().max() > 0.01


def test_one_step_of_the_teacher_lowers_the_students_loss(problem):
    """The sign, observed from the outside."""
    unlabelled, labelled, truth, teacher, student = problem

    def expected(weights):
        draws = all_draws(unlabelled @ weights)
        return sum(p * functional.cross_entropy(labelled @ stepped(student, unlabelled, y), truth) for y, p in draws)

    before = functional.cross_entropy(labelled @ student, truth)
    gradient = torch.zeros_like(teacher)
    for drawn, probability in all_draws(unlabelled @ teacher):
        feedback = before - functional.cross_entropy(labelled @ stepped(student, unlabelled, drawn), truth)
        loss = teacher_loss(unlabelled @ teacher, drawn, feedback)
        gradient += probability.detach() * torch.autograd.grad(loss, teacher)[0]
    assert expected(teacher - 0.1 * gradient) < expected(teacher)


def test_labels_are_drawn_with_the_teachers_probabilities():
    logits = torch.tensor([0.5, -1.0, 0.2]).expand(20_000, -1)
    drawn = draw(logits, torch.Generator().manual_seed(1))
    shares = torch.bincount(drawn, minlength=3) / len(drawn)
    assert torch.allclose(shares, logits[0].softmax(0), atol=0.015)
    assert torch.equal(drawn, draw(logits, torch.Generator().manual_seed(1)))


def test_a_quiet_network_has_no_dropout_and_keeps_its_statistics():
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Dropout(0.5), nn.Flatten(), nn.Linear(64, 2))
    images = torch.randn(6, 3, 4, 4, generator=torch.Generator().manual_seed(2)) * 5 + 3
    before = {name: value.clone() for name, value in network.state_dict().items()}
    network.train()
    normalised = []
    network[1].register_forward_hook(lambda _module, _inputs, output: normalised.append(output))
    classes = torch.arange(6) % 2
    assert torch.equal(*(quiet_loss(network, images, classes) for _ in range(2)))
    assert normalised[0].mean((0, 2, 3)).abs().max() < 1e-5
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert all(module.training for module in network.modules())


def test_consistency_counts_only_images_the_teacher_is_sure_of():
    weak = torch.tensor([[4.0, 0.0], [0.1, 0.0]], requires_grad=True)
    strong = torch.tensor([[1.0, 0.0], [0.0, 5.0]], requires_grad=True)
    loss = consistency_loss(weak, strong, confidence=0.9, hard=False)
    p = torch.tensor([4.0, 0.0]).softmax(0)
    assert loss.item() == pytest.approx(float(-(p * torch.tensor([1.0, 0.0]).log_softmax(0)).sum() / 2), rel=1e-5)
    loss.backward()
    assert weak.grad is None
    assert strong.grad[1].abs().sum() == 0


def test_the_student_is_tuned_and_both_models_are_kept(tmp_path):
    _, task = small_task(tmp_path, train={"epochs": 2}, meta_pseudo_labels={"finetune_epochs": 1})
    trained = train(task)
    names = [epoch.model for fitted in trained.models for epoch in fitted.history]
    assert names == ["teacher", "teacher", "student", "student", "student-tuned"]
    assert trained.pseudo_labels[1].rows.tolist() == task.fold.unlabelled.tolist()


def test_a_training_that_diverges_says_so(tmp_path):
    """The teacher's labels are drawn before the loss is looked at."""
    _, task = small_task(tmp_path, train={"epochs": 2, "learning_rate": 1e20})
    with pytest.raises(UserError, match=r"lower train\.learning_rate"):
        train(task)
