"""A training that is stopped anywhere ends with the same bytes, and trusts no state that is not its own."""

import dataclasses
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from job.contracts import paths
from job.errors import StoppedError, UserError
from job.params import load
from job.training import identity, restart
from job.training.batch import Source
from job.training.restart import Restart
from job.training.state import TrainState
from tests import ROOT
from tests.test_architecture import dependencies
from tests.training.silent import Silent
from tests.training.test_fit import ROWS, context, network, params, task, train  # noqa: F401 - a fixture

CPU = torch.device("cpu")
OPTIONS = {"dropout": 0.5, "stochastic_depth": 0.2}


class StopAfter:
    """Asks to stop before a batch, counted over training, statistics and validation."""

    def __init__(self, batches):
        self.left = batches

    def __call__(self):
        self.left -= 1
        if self.left < 0:
            raise StoppedError(15, "again")


def same(first, second):
    assert first.history == second.history
    assert first.best == second.best
    assert first.state.keys() == second.state.keys()
    assert all(torch.equal(first.state[name], second.state[name]) for name in first.state)


@pytest.fixture(scope="module")
def undisturbed(context):  # noqa: F811
    """A training of two epochs that nobody stops."""
    return train(context, network(**OPTIONS), epochs=2, batch_norm="recomputed")


# An epoch here: 4 batches of training, 1 of statistics, 1 of validation.
@pytest.mark.parametrize("batches", [0, 1, 3, 4, 5, 6, 9, 11])
def test_a_training_stopped_anywhere_ends_as_if_it_were_not(context, undisturbed, tmp_path, batches):  # noqa: F811
    options = {"epochs": 2, "batch_norm": "recomputed"}
    stopping = dataclasses.replace(context, check=StopAfter(batches))
    with pytest.raises(StoppedError):
        train(stopping, network(**OPTIONS), restart=Restart(tmp_path, 1e9), **options)
    torch.rand(7)  # another process has other global generators
    progress = Silent()
    again = train(context, network(**OPTIONS), restart=Restart(tmp_path, 1e9), progress=progress, **options)
    same(again, undisturbed)
    epochs = batches // 6
    assert progress.resumptions == [("base", epochs, 32 * epochs + 8 * min(batches % 6, 4))]
    assert progress.total == 64


def test_two_sources_with_noise_and_averaged_weights_go_on_too(context, tmp_path):  # noqa: F811
    settings = {"augment": "cells", "label_smoothing": 0.1, "class_weights": "balanced"}
    sources = [
        Source(ROWS[8:], torch.full((24, 2), 0.5), 8, augment="cells"),
        task(context, ROWS[:8], **settings).labelled(),
    ]
    options = {"sources": sources, "epochs": 2, "ema_decay": 0.9, "optimiser": "adamw", "schedule": "cosine"}
    expected = train(context, network(**OPTIONS), **options)
    for batches in (3, 7, 12):
        states = Restart(tmp_path / str(batches), 1e9)
        stopping = dataclasses.replace(context, check=StopAfter(batches))
        with pytest.raises(StoppedError):
            train(stopping, network(**OPTIONS), restart=states, **options)
        same(train(context, network(**OPTIONS), restart=states, **options), expected)


def test_a_state_of_an_unfinished_epoch_goes_back_to_its_device(context):  # noqa: F811
    """Losses of later steps are added on the device; generators take their states from the CPU."""
    settings = params()
    state = TrainState.start(network(), CPU, settings)
    state.learn(state.forward(context.images(ROWS[:2]))[0].sum(), torch.tensor([True, False]))
    state.rng_state = [torch.get_rng_state()]
    again = dataclasses.replace(TrainState.start(network(), CPU, settings), device=torch.device("meta"))
    again.restore(state.capture())
    assert [step.device.type for step in again.figures] == ["meta"]
    assert again.rng_state[0].device.type == "cpu"


def test_a_killed_training_goes_on_from_its_last_state(context, tmp_path):  # noqa: F811
    """Nobody announces SIGKILL: what counts is what was saved by time."""

    class KilledError(Exception):
        pass

    class Kill(Silent):
        def images(self, _count):
            if len(self.epochs) == 1:
                raise KilledError

    expected = train(context, network(**OPTIONS))
    with pytest.raises(KilledError):
        train(context, network(**OPTIONS), restart=Restart(tmp_path, 0), progress=Kill())
    progress = Silent()
    same(train(context, network(**OPTIONS), restart=Restart(tmp_path, 0), progress=progress), expected)
    assert progress.resumptions == [("base", 1, 32)]
    assert [epoch.epoch for epoch in progress.epochs] == [2]


def test_a_finished_model_of_a_chain_is_not_trained_again(context, tmp_path):  # noqa: F811
    first = train(context, network(), restart=Restart(tmp_path, 0))
    progress = Silent()
    same(train(context, network(), restart=Restart(tmp_path, 0), progress=progress), first)
    assert progress.epochs == []
    assert [path.name for path in tmp_path.iterdir()] == ["base.state"]


@pytest.mark.parametrize("damage", [b"", b"torn", None])
def test_a_torn_state_is_seen_and_the_one_before_it_used(tmp_path, capsys, damage):
    states = Restart(tmp_path, 0)
    states.save("base", {"epoch": 1})
    states.save("base", {"epoch": 2})
    newest = tmp_path / "base.state"
    assert states.load("base") == {"epoch": 2}
    content = newest.read_bytes()
    newest.write_bytes(content[:-1] if damage is None else damage)
    assert states.load("base") == {"epoch": 1}
    assert "base.state is damaged" in capsys.readouterr().err
    (tmp_path / "base.older.state").write_bytes(b"torn too")
    assert states.load("base") is None


def test_a_state_that_would_execute_code_is_not_loaded(tmp_path):
    class Hostile:
        def __reduce__(self):
            return (open, (str(tmp_path / "owned"), "w"))

    states = Restart(tmp_path, 0)
    states.save("base", {"x": Hostile()})
    with pytest.raises(Exception, match="Weights only"):
        states.load("base")
    assert not (tmp_path / "owned").exists()


def test_a_finished_run_leaves_nothing_and_another_digest_finds_nothing(tmp_path):
    folder = tmp_path / ".state" / "efficientnet-1"
    with pytest.raises(RuntimeError), restart.opened(folder, "one", 0) as states:
        states.save("base", {"epoch": 1})
        raise RuntimeError
    with pytest.raises(RuntimeError), restart.opened(folder, "two", 0) as states:
        assert states.load("base") is None
        raise RuntimeError
    with restart.opened(folder, "one", 0) as states:
        assert states.load("base") == {"epoch": 1}
    assert list(folder.parent.iterdir()) == []


HOLDER = """
import sys
from pathlib import Path
from job.training import restart
with restart.opened(Path(sys.argv[1]), "digest", 0):
    print("held", flush=True)
    sys.stdin.readline()
"""


def test_two_processes_never_train_one_fold(tmp_path, monkeypatch):
    folder = tmp_path / "efficientnet-1"
    command = [sys.executable, "-c", HOLDER, str(folder)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout.readline() == "held\n"
        monkeypatch.setattr(restart, "_WAIT_SECONDS", 0.3)
        with (
            pytest.raises(UserError, match=f"process {holder.pid} trains this fold already"),
            restart.opened(folder, "digest", 0),
        ):
            pass
        monkeypatch.setattr(restart, "_WAIT_SECONDS", 30)
        holder.stdin.write("end\n")
        holder.stdin.flush()
        with restart.opened(folder, "digest", 0):
            assert int((tmp_path / "efficientnet-1.pid").read_text()) == os.getpid()
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_keeps_the_state_before(tmp_path, monkeypatch):
    states = Restart(tmp_path, 0)
    states.save("base", {"epoch": 1})

    def full(_descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        states.save("base", {"epoch": 2})
    assert states.load("base") == {"epoch": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["base.state"]


@pytest.fixture
def prepared(tmp_path, monkeypatch):
    """The folder that a stage runs in, with something in the place of the data."""
    shutil.copy(ROOT / "params.yaml", tmp_path)
    for path in (paths.PIXELS, paths.SUMMARY, paths.SPLIT):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(path.name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("section", "change"),
    [
        ("train", {"epochs": 9}),
        ("train", {"threads": 7}),
        ("model", {"dropout": 0.1}),
        ("noisy_student", {"labels": "soft"}),
    ],
)
def test_every_parameter_that_matters_is_in_the_digest(prepared, section, change):
    params = load()
    other = params.model_copy(update={section: getattr(params, section).model_copy(update=change)})
    first, second = (identity.facts(one, "noisy_student", CPU) for one in (params, other))
    assert identity.digest(first) != identity.digest(second)
    with pytest.raises(UserError, match=rf"not written, .* while it trained: {section}\.{next(iter(change))}\."):
        identity.check_unchanged(second, "noisy_student", CPU)


def test_data_and_code_are_in_the_digest_too(prepared, monkeypatch):
    facts = identity.facts(load(), "efficientnet", CPU)
    identity.check_unchanged(facts, "efficientnet", CPU)
    (prepared / "data/split.csv").write_text("another")
    monkeypatch.setattr(identity, "code", lambda _method: [Path("job/errors.py")])
    with pytest.raises(UserError, match=r"data/split\.csv"):
        identity.check_unchanged(facts, "efficientnet", CPU)
    assert identity.facts(load(), "efficientnet", CPU).keys() ^ facts.keys() > {"job/errors.py"}
    (prepared / "params.yaml").write_text("half a f")
    with pytest.raises(UserError, match=r"while it trained: params\.yaml must hold sections"):
        identity.check_unchanged(facts, "efficientnet", CPU)


def test_how_often_is_saved_changes_no_digest(prepared):
    params = load()
    often = params.model_copy(update={"machine": params.machine.model_copy(update={"save_every_seconds": 1})})
    first, second = (identity.facts(one, "efficientnet", CPU) for one in (params, often))
    assert first == second


@pytest.mark.parametrize("method", ["efficientnet", "noisy_student"])
def test_the_code_of_a_run_is_what_dvc_tracks_for_it(method):
    listed = {path.with_suffix("").as_posix().replace("/", ".") for path in identity.code(method)}
    assert listed == dependencies("train", method)
