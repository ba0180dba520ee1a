"""Experiments of DVC in a clone of this repository: what `make study` and `make ablation` run.

The clone lies in an ignored folder, so that the repository's own experiments stay few, and its first commit has images
and split, so that they are made once. `dvc exp run --temp` runs several experiments side by side. One that has its name
there is finished and is not repeated: a command may be killed anywhere and started again. `dvc exp show` in the clone
lists the runs, and removing the folder begins anew.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from tqdm import tqdm

from job.errors import UserError
from job.files import read_json, write_json, write_text

Settings = Mapping[str, str | int | float]

# What decides a figure: a change of anything else leaves the finished experiments as they are.
_DECIDES = ("job", "dvc.yaml", "params.yaml")
_DVC = (sys.executable, "-m", "dvc", "--wait-for-lock")
_ENVIRONMENT = os.environ | {
    "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    # DVC's own lines come between those of the stages, when they happen: they are what is timed.
    "PYTHONUNBUFFERED": "1",
    "TQDM_DISABLE": "1",
    "DVC_NO_ANALYTICS": "1",
}


@contextmanager
def opened(folder: Path) -> Iterator[Clone]:
    """The clone, for one process at a time."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("waiting for experiments that an earlier run left running …", flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield Clone(folder, lock.fileno())


class Clone:
    """The clone in which the experiments run."""

    def __init__(self, folder: Path, lock: int) -> None:
        """`lock` is inherited by the processes of DVC: what a killed run left behind is waited for, and counts."""
        self.folder = folder
        self.repository = folder / "repository"
        self._lock = lock

    def prepare(self, common: Settings, *, pinned: bool = False, code: str | None = None) -> None:
        """Clone the repository, set what all arms share, and make images and split once: the experiments' baseline.

        A `pinned` clone keeps the code it began with, for experiments that take longer than a version lives. `code`
        names a commit of old in place of today's.
        """
        before = read_json(self.folder / "baseline.json") if (self.folder / "baseline.json").is_file() else {}
        keep = pinned and before.get("common") == dict(common) and code in {None, before.get("code")}
        state = before if keep else {"of": _digests(code), "common": dict(common)} | ({"code": code} if code else {})
        if before == state:
            self._name_a_remote()
            shutil.rmtree(self.repository / ".dvc/tmp/exps/standalone", ignore_errors=True)
            return
        self._renew(common, code)
        write_json(self.folder / "baseline.json", state)

    def _renew(self, common: Settings, code: str | None) -> None:
        (self.folder / "baseline.json").unlink(missing_ok=True)
        head = _git(Path(), "rev-parse", code or "HEAD")
        here = self.repository
        if not (here / ".git").is_dir():
            shutil.rmtree(here, ignore_errors=True)
            _git(Path(), "clone", "--quiet", "--no-checkout", ".", str(here))
        for key, name in (("user.name", "ablation"), ("user.email", "ablation@localhost")):
            _git(here, "config", key, name)
        _git(here, "fetch", "--quiet", "origin", head)
        _git(here, "checkout", "--quiet", "--force", "--detach", head)
        self._name_a_remote()
        yaml = YAML()
        values: Any = yaml.load(here / "params.yaml")
        for key, value in common.items():
            section, name = key.split(".")
            values[section][name] = value
        yaml.dump(values, here / "params.yaml")
        # It names data of the default demo, which DVC 3.67 looks for in the cache when it restores a stage below them.
        (here / "dvc.lock").unlink(missing_ok=True)
        if subprocess.run([*_DVC, "repro", "--quiet", "split"], cwd=here, env=_ENVIRONMENT, check=False).returncode:
            raise UserError("the images or the split could not be made: see the message above")
        _git(here, "add", "--all", "dvc.lock", "params.yaml")
        _git(here, "commit", "--quiet", "--allow-empty", "--message", "images and split of the experiments")

    def _name_a_remote(self) -> None:
        """An empty one: with `--pull` DVC 3.67 restores no stage from its run cache unless there is a remote to ask."""
        remote = (self.folder / "remote").absolute()
        remote.mkdir(exist_ok=True)
        # Links, because every experiment has the images in a folder of its own.
        text = f"[core]\n    remote = empty\n['remote \"empty\"']\n    url = {remote}\n[cache]\n    type = hardlink\n"
        write_text(self.repository / ".dvc/config.local", text)

    def run_all(self, wanted: Mapping[str, Settings], jobs: int) -> None:
        """Every experiment that is not there yet, `jobs` at a time; see `run_each`."""
        for _ in self.run_each(wanted, jobs):
            pass

    def run_each(self, wanted: Mapping[str, Settings], jobs: int) -> Iterator[str]:
        """The name of each experiment that was not there yet, once it is; `jobs` run at a time, in the order given.

        With 0 `jobs` none runs.

        Raises:
            UserError: one of that name ran with other settings; or an experiment failed. Those that run are waited for,
                so that their work is kept.
        """
        done = self.finished()
        missing = {name: settings for name, settings in wanted.items() if name not in done}
        for name in wanted.keys() - missing.keys():
            self._check(name, wanted[name])
        if missing:
            print(f"{len(wanted) - len(missing)} of {len(wanted)} experiments are there", flush=True)
        if not jobs:
            return
        with ThreadPoolExecutor(jobs) as pool:
            waiting = {pool.submit(self.run, name, settings): name for name, settings in missing.items()}
            try:
                for one in tqdm(as_completed(waiting), total=len(waiting), desc="experiments", disable=None):
                    tqdm.write(f"{waiting[one]}: {one.result():.0f} s of training")
                    yield waiting[one]
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise

    def _check(self, name: str, settings: Settings) -> None:
        """Refuse a finished experiment whose settings have changed since under the same name."""
        yaml = YAML(typ="safe")
        values = yaml.load(_git(self.repository, "show", f"{self._references()}{name}:params.yaml"))
        for key, value in settings.items():
            section, _, parameter = key.rpartition(".")
            ran, asked = (values[section] if section else values)[parameter], yaml.load(str(value))
            if ran != asked:
                raise UserError(
                    f"experiment {name} ran with {key}={ran}, and {asked} is asked: give it another name, or remove it "
                    f"with `dvc exp remove {name}` in {self.repository}"
                )

    def _references(self) -> str:
        """Where DVC keeps the experiments of the baseline."""
        head = _git(self.repository, "rev-parse", "HEAD")
        return f"refs/exps/{head[:2]}/{head[2:]}/"

    def finished(self) -> set[str]:
        """Names of the experiments that are there."""
        references = self._references()
        return {
            name.removeprefix(references)
            for name in _git(self.repository, "for-each-ref", "--format=%(refname)", references).split()
        }

    @property
    def commit(self) -> str:
        """What was cloned, in short."""
        return _git(self.repository, "rev-parse", "--short", "HEAD~1")

    def run(self, name: str, settings: Settings) -> float:
        """One experiment; seconds of its training, from the moment the stage starts.

        Raises:
            UserError: it failed.
        """
        changes = [f"--set-param={key}={value}" for key, value in settings.items()]
        command = [
            *_DVC, "exp", "run", "--temp", "--pull", "--allow-missing", "--name", name, *changes, "evaluate",
        ]  # fmt: skip
        log = (self.folder / "logs" / f"{name}.log").absolute()
        log.parent.mkdir(exist_ok=True)
        started = seconds = 0.0
        with subprocess.Popen(
            command, cwd=self.repository, env=_ENVIRONMENT, text=True, bufsize=1,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, pass_fds=[self._lock],
        ) as process, log.open("w") as file:  # fmt: skip
            assert process.stdout is not None
            for line in process.stdout:
                file.write(line)
                if line.startswith("Running stage 'train@"):
                    started = time.monotonic()
                elif started and line.startswith("Running stage 'predict@"):
                    seconds, started = time.monotonic() - started, 0.0
        if process.returncode and name not in self.finished():
            raise UserError(f"experiment {name} failed: see {log}")
        if seconds:
            write_json(self.folder / "seconds" / f"{name}.json", round(seconds, 1))
        return seconds

    def read(self, name: str, path: str) -> str:
        """A file of an experiment."""
        import dvc.api  # noqa: PLC0415 - a second, and only the table needs it

        text: str = dvc.api.read(path, repo=str(self.repository), rev=f"{self._references()}{name}")
        return text

    def seconds(self, name: str) -> float | None:
        """Of an experiment's training, where this machine did it."""
        path = self.folder / "seconds" / f"{name}.json"
        return float(read_json(path)) if path.is_file() else None


def _digests(code: str | None) -> dict[str, str]:
    """What decides the figures, as Git knows it."""
    if not code and subprocess.run(["git", "diff", "--quiet", "HEAD", "--", *_DECIDES], check=False).returncode:  # noqa: S607
        raise UserError(f"{', '.join(_DECIDES)}: commit the changes first, experiments run on what is committed")
    return {path: _git(Path(), "rev-parse", f"{code or 'HEAD'}:{path}") for path in _DECIDES}


def _git(where: Path, *arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=where, capture_output=True, text=True, check=False)  # noqa: S607
    if done.returncode:
        raise UserError(f"git {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout.strip()
