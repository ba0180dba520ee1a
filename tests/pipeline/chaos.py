"""Random kills: `python -m tests.pipeline.chaos --kills 50` (`make chaos`).

Each trial trains one fold through DVC, kills DVC, the trainer or both with SIGKILL at a random moment, starts DVC again
at once, and compares every byte of the run folder with that of a run in peace.
"""

import argparse
import hashlib
import io
import os
import random
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import torch

from tests.pipeline import repository

METHODS = ["efficientnet", "noisy_student", "fixmatch", "meta_pseudo_labels", "linear_probe"]
VICTIMS = ("dvc", "trainer", "both")


def run(folder: Path, kills: int, seed: int = 0) -> dict[str, int]:
    """Kill this many times in a fresh copy of the repository; return counts of how the trials went.

    Raises:
        AssertionError: an ending differs, or a state was left behind.
    """
    repo = repository.create(folder)
    repository.change(repo, {"train": {"epochs": 10}, "machine": {"save_every_seconds": 0.2}, "methods": METHODS})
    repository.run(repo, "dvc", "repro", "split")
    names = [f"{method}-1" for method in METHODS]
    expected, seconds = {}, {}
    for name in names:
        started = time.monotonic()
        _train(repo, name).communicate()
        seconds[name] = time.monotonic() - started
        expected[name] = _outputs(repo, name)
        assert len(expected[name]) >= 3
    repository.run(repo, "git", "add", "dvc.lock")
    repository.run(repo, "git", "commit", "--quiet", "--message", "lock")
    rng = random.Random(seed)
    counts = dict.fromkeys((*VICTIMS, "resumed", "in mid-epoch", "damaged by DVC"), 0)
    for trial in range(kills):
        name, victim = names[trial % len(names)], VICTIMS[trial % len(VICTIMS)]
        while (process := _started(repo, name, seconds[name], rng)).poll() is not None:
            process.communicate()  # too late: the machine has less to do than it had before
            seconds[name] *= 0.8
        trainer = _trainer(process.pid)
        if victim != "trainer" or trainer is None:
            process.kill()
        if victim != "dvc" and trainer is not None:
            os.kill(trainer, signal.SIGKILL)
        process.wait()
        assert process.stdout is not None
        process.stdout.close()
        in_epoch = _in_epoch(repo / ".state")
        output, damaged = _finished(repo, name)
        counts["damaged by DVC"] += damaged
        assert _outputs(repo, name) == expected[name], f"trial {trial}: {victim} of {name} killed\n{output}"
        assert list((repo / ".state").iterdir()) == []
        counts[victim] += 1
        resumed = "goes on after" in output
        counts["resumed"] += resumed
        counts["in mid-epoch"] += in_epoch and resumed
        how = ", resumed in mid-epoch" if in_epoch and resumed else ", resumed" if resumed else ""
        print(f"{trial + 1}/{kills} {victim:<8} {name:<16} identical{how}", flush=True)
    return counts


def _train(repo: Path, name: str) -> subprocess.Popen[str]:
    # The run cache would restore the outputs of an earlier trial.
    command = ["dvc", "--wait-for-lock", "repro", "--force", "--no-run-cache", "--single-item", f"train@{name}"]
    return subprocess.Popen(
        command, cwd=repo, env=repository.ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def _started(repo: Path, name: str, seconds: float, rng: random.Random) -> subprocess.Popen[str]:
    """A training at a random moment: of two in three after its first state is saved, else of an undisturbed run."""
    process = _train(repo, name)
    if name.startswith("linear_probe") or rng.random() < 1 / 3:  # that probe saves no state
        time.sleep(rng.uniform(0.1, 1.0) * seconds)
        return process
    while process.poll() is None and not any((repo / ".state").rglob("*.state")):
        time.sleep(0.02)
    time.sleep(rng.uniform(0.0, 0.2) * seconds)
    return process


def _finished(repo: Path, name: str) -> tuple[str, bool]:
    """What DVC says until the fold is trained, and whether it was killed while it wrote one of its own two files.

    The remedies for these are those of docs/operations.md.
    """
    ended = _train(repo, name)
    output = ended.communicate()[0]
    if damaged := ended.returncode != 0:
        if "dvc.lock' validation failed" in output:
            repository.run(repo, "git", "checkout", "--", "dvc.lock")
        else:
            assert "Unable to read RWLock-file" in output, output
            (repo / ".dvc/tmp/rwlock").unlink()
        ended = _train(repo, name)
        output = ended.communicate()[0]
    assert ended.returncode == 0, output
    return output, damaged


def _trainer(dvc: int) -> int | None:
    """Process of the trainer that a DVC process has started."""
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            pid, parent = int(path.parent.name), int(path.read_text().rsplit(")", 1)[1].split()[1])
            command = (path.parent / "cmdline").read_text()
        except (OSError, IndexError):
            continue
        if parent == dvc and "\0stage\0train\0" in command:
            return pid
    return None


def _in_epoch(states: Path) -> bool:
    """Whether a model's saved state is that of an epoch whose steps are partly done."""
    for path in states.rglob("*.state"):
        if not path.name.endswith(".older.state"):
            state = torch.load(io.BytesIO(path.read_bytes()[hashlib.sha256().digest_size :]), weights_only=True)
            if state[path.stem]["figures"]:
                return True
    return False


def _outputs(repo: Path, name: str) -> dict[str, str]:
    method, fold = name.rsplit("-", 1)
    return repository.digests(repo, f"runs/{method}/fold-{fold}")


def main() -> None:
    """Run in a temporary folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="chaos-"))
    try:
        print(run(folder, options.kills, options.seed))
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
