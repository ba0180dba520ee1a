"""`python -m job folds`: train and predict all folds side by side, each through DVC.

The folds write the same bytes as one `dvc repro` that runs them in turn: threads and seeds of a fold are parameters.
Where there are GPUs, `CUDA_VISIBLE_DEVICES` hands each fold `train.devices` of them.
"""

import os
import re
import signal
import subprocess
import sys
from collections import deque
from concurrent.futures import ThreadPoolExecutor, as_completed
from itertools import takewhile
from threading import Event

from tqdm import tqdm

from job.commands.machine import output
from job.contracts.paths import STATE
from job.errors import StoppedError, UserError
from job.files import locked
from job.params import Params, Train, load

_DVC = [sys.executable, "-m", "dvc"]
# DVC locks the repository while it hashes and records; by default it waits three seconds for the lock and gives up.
_REPRO = ["--wait-for-lock", "repro"]
# A DVC of a fold ends with this process, and its trainer with it: else both would go on where nobody sees them.
_BOUND = """
import runpy; from job.__main__ import end_with_parent
end_with_parent({}); runpy.run_module("dvc", None, "__main__")
"""


def run(jobs: int | None, *, names_only: bool = False) -> str:
    """Bring every fold up to date, `jobs` at a time, or only say their names.

    By default a fold runs per core, or per GPU where there are GPUs. A failing fold lets the running ones finish, so
    that their work is kept, and starts no other. After a StoppedError the trainers have saved their states.
    """
    if jobs is not None and jobs < 1:
        raise UserError(f"--jobs must be at least 1, not {jobs}")
    params = load()
    # Methods that train several models per fold come last in the list and first here, so that no core idles at the end.
    names = [f"{method}-{fold}" for method in reversed(params.methods) for fold in params.folds]
    if names_only:
        return " ".join(names)
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:  # as `nohup` leaves SIGHUP
            signal.signal(number, _stop)
    with locked(STATE / "folds.lock", 0, "runs `make report` or `make folds` here"):
        return _run(params, names, jobs)


def _stop(number: int, _frame: object) -> None:
    raise StoppedError(number, "the same command goes on with what is not finished")


def _run(params: Params, names: list[str], jobs: int | None) -> str:
    environments = _environments(params.train, _gpus(), jobs)
    # Everything upstream first and once: folds started side by side would all begin with the stages they share.
    if subprocess.run([*_DVC, *_REPRO, "split"], check=False).returncode:
        raise UserError("the stages before training failed: see the message above")
    targets = [f"{stage}@{name}" for stage in ("train", "predict") for name in names]
    if subprocess.run([*_DVC, "status", "--quiet", *targets], check=False).returncode == 0:
        return f"all {len(names)} folds are up to date"
    free, running, failed = deque(environments), set[subprocess.Popen[str]](), Event()
    pool = ThreadPoolExecutor(len(environments))
    try:
        waiting = {pool.submit(_fold, name, free, running, failed): name for name in names}
        for done in tqdm(as_completed(waiting), total=len(names), desc="folds", unit="fold", disable=None):
            if done.result():
                raise UserError(f"fold {waiting[done]} failed: see its message above; finished folds are kept")
    except (KeyboardInterrupt, StoppedError):
        pool.shutdown(wait=False, cancel_futures=True)  # first: else a worker takes the next fold
        for process in list(running):
            process.terminate()  # what it had finished is recorded
        raise
    finally:
        pool.shutdown(cancel_futures=True)
    return f"{len(names)} folds are trained and predicted"


def _fold(name: str, free: deque[dict[str, str]], running: set[subprocess.Popen[str]], failed: Event) -> int:
    """Train and predict one fold with one of the free additions to the environment; the exit code of DVC.

    Nothing is done once another fold has `failed`: a worker takes its next fold before anybody sees the result.
    """
    environment = free.popleft()
    try:
        code = 0 if failed.is_set() else _dvc(name, os.environ | environment, running)
        if code:
            failed.set()
        return code
    finally:
        free.append(environment)


def _dvc(name: str, environment: dict[str, str], running: set[subprocess.Popen[str]]) -> int:
    bound = [sys.executable, "-c", _BOUND.format(os.getpid())]
    command = [*bound, *_REPRO, "--single-item", f"train@{name}", f"predict@{name}"]
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, bufsize=1
    ) as process:
        running.add(process)
        assert process.stdout is not None
        for line in process.stdout:
            tqdm.write(line.rstrip("\n"))
            if "exited with -9" in line:
                tqdm.write(f"fold {name} was killed, most often because memory ran out: try JOBS=1")
    running.discard(process)
    return process.returncode


def _environments(train: Train, gpus: list[str], jobs: int | None) -> list[dict[str, str]]:
    """What each of the folds that run at a time finds in its environment beside ours."""
    # Bars of several folds on one terminal would overwrite each other.
    quiet = {"TQDM_DISABLE": "1"}
    if train.device == "cpu" or not gpus:
        jobs = jobs or len(os.sched_getaffinity(0))
        return [quiet] * jobs if jobs > 1 else [{}]
    if train.devices > len(gpus):
        raise UserError(
            f"train.devices is {train.devices}, but a fold can have {len(gpus)} here (GPU {', '.join(gpus)}): lower it"
        )
    count = len(gpus) // train.devices
    groups = [",".join(gpus[fold * train.devices : (fold + 1) * train.devices]) for fold in range(count)]
    # Small batches leave half of a GPU idle, so folds share one where that is asked for; each needs its own memory. The
    # GPUs of a fold of several processes are its own.
    jobs = jobs if jobs and train.devices == 1 else min(jobs or count, count)
    return [{"CUDA_VISIBLE_DEVICES": groups[fold % count]} | (quiet if jobs > 1 else {}) for fold in range(jobs)]


def _gpus() -> list[str]:
    """GPUs that folds may have: those that `CUDA_VISIBLE_DEVICES` names, or all that the driver lists.

    As CUDA reads it: up to the first name that can be none, such as -1, which is the usual way to hide every GPU.
    """
    if (visible := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        names = (name.strip() for name in visible.split(","))
        return list(takewhile(re.compile(r"\d+|(GPU|MIG)-.+").fullmatch, names))
    return (output("nvidia-smi", "--query-gpu=index", "--format=csv,noheader") or "").split()
