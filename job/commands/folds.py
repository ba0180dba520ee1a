"""`python -m job folds`: train and predict all folds side by side, each through DVC.

The folds write the same bytes as one `dvc repro` that runs them in turn: threads and seeds of a fold are parameters.
Where there are GPUs each fold has `train.devices` of them to itself, handed out by `CUDA_VISIBLE_DEVICES`.
"""

import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor, as_completed
from queue import SimpleQueue

from tqdm import tqdm

from job import params
from job.errors import UserError
from job.params import Train

# DVC locks the repository while it hashes and records; by default it waits three seconds for the lock and gives up.
_REPRO = [sys.executable, "-m", "dvc", "--wait-for-lock", "repro"]


def run(jobs: int) -> str:
    """Bring every fold up to date, `jobs` at a time, and no more than there are GPUs for.

    A failing fold lets the running ones finish, so that their work is kept, and starts no other.

    Raises:
        UserError: a fold wants more GPUs than there are, or it failed; its own message stands above.
    """
    if jobs < 1:
        raise UserError(f"--jobs must be at least 1, not {jobs}")
    values = params.load()
    shares = _shares(values.train, _gpus())
    # Folds side by side on one GPU would take turns at it, and each needs its memory all the time.
    jobs = min(jobs, len(shares) or jobs)
    # Everything upstream first and once: folds started side by side would all begin with the stages they share.
    if subprocess.run([*_REPRO, "split"], check=False).returncode:
        raise UserError("the stages before training failed: see the message above")
    # Methods that train several models per fold come last in the list and first here, so that no core idles at the end.
    names = [f"{method}-{fold}" for method in reversed(values.methods) for fold in values.folds]
    if _up_to_date(names):
        return f"all {len(names)} folds are up to date"
    side_by_side = _SideBySide(shares[:jobs])
    pool = ThreadPoolExecutor(jobs)
    try:
        waiting = {pool.submit(side_by_side.run, name, bars=jobs == 1): name for name in names}
        for done in tqdm(as_completed(waiting), total=len(names), desc="folds", unit="fold", disable=None):
            if done.result():
                raise UserError(f"fold {waiting[done]} failed: see its message above; finished folds are kept")
    except KeyboardInterrupt:
        side_by_side.stop()
        raise
    finally:
        pool.shutdown(cancel_futures=True)
    return f"{len(names)} folds are trained and predicted"


class _SideBySide:
    """The DVC processes of the running folds, each with one of these shares of the GPUs."""

    def __init__(self, shares: list[str]) -> None:
        self._running: set[subprocess.Popen[str]] = set()
        self._shares: SimpleQueue[str] = SimpleQueue()
        self._shared = bool(shares)
        for share in shares:
            self._shares.put(share)

    def run(self, name: str, *, bars: bool) -> int:
        """Exit code of one fold's two stages. Bars of several folds on one terminal would overwrite each other."""
        environment = os.environ | ({} if bars else {"TQDM_DISABLE": "1"})
        if not self._shared:
            return self._dvc(name, environment)
        share = self._shares.get()
        try:
            return self._dvc(name, environment | {"CUDA_VISIBLE_DEVICES": share})
        finally:
            self._shares.put(share)

    def _dvc(self, name: str, environment: dict[str, str]) -> int:
        command = [*_REPRO, "--single-item", f"train@{name}", f"predict@{name}"]
        with subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, bufsize=1
        ) as process:
            self._running.add(process)
            assert process.stdout is not None
            for line in process.stdout:
                tqdm.write(line.rstrip("\n"))
        self._running.discard(process)
        return process.returncode

    def stop(self) -> None:
        """End them; what they had finished is recorded."""
        for process in list(self._running):
            process.terminate()


def _shares(train: Train, gpus: list[str]) -> list[str]:
    """Groups of `train.devices` GPUs, as `CUDA_VISIBLE_DEVICES` takes them; none where folds run on the CPU.

    Raises:
        UserError: there are GPUs, and fewer than one fold wants.
    """
    if train.device == "cpu" or not gpus:
        return []
    if train.devices > len(gpus):
        raise UserError(
            f"train.devices is {train.devices}, but a fold can have {len(gpus)} here (GPU {', '.join(gpus)}): lower it"
        )
    whole = len(gpus) - len(gpus) % train.devices
    return [",".join(gpus[first : first + train.devices]) for first in range(0, whole, train.devices)]


def _gpus() -> list[str]:
    """GPUs that folds may have: those that `CUDA_VISIBLE_DEVICES` names, or all that the driver lists."""
    if (visible := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        return [gpu for gpu in visible.split(",") if gpu]
    if not (tool := shutil.which("nvidia-smi")):
        return []
    listed = subprocess.run(
        [tool, "--query-gpu=index", "--format=csv,noheader"], capture_output=True, text=True, check=False
    )
    return listed.stdout.split() if listed.returncode == 0 else []


def _up_to_date(names: list[str]) -> bool:
    targets = [f"{stage}@{name}" for stage in ("train", "predict") for name in names]
    status = subprocess.run([sys.executable, "-m", "dvc", "status", "--quiet", *targets], check=False)
    return status.returncode == 0
