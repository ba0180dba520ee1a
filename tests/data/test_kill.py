"""Killed at any moment, `prepare` leaves the old outputs or the new ones, never a mixture."""

import json
import shutil
import subprocess
import sys

import pytest

from tests import ROOT
from tests.fixtures import cells
from tests.fixtures.run_tree import edit_params

# Runs in a process of its own: children are forked, do the stage's work, and are killed before the n-th operation on a
# file of the output, or after so many milliseconds.
DRIVER = """
import hashlib, json, os, shutil, signal, sys, threading, time
from pathlib import Path
from tqdm import tqdm
from job.stages import prepare

FILES = ("open", "os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.listdir", "os.scandir", "shutil.rmtree",
         "ctypes.dlsym", "os.fwalk")

def digest():
    folder = Path("data/prepared")
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return [(str(path), hashlib.sha256(path.read_bytes()).hexdigest()) for path in files]

def child(at=None):
    pid = os.fork()
    if pid:
        return pid
    # Its own: the one of tqdm is shared with forks, and stays locked for ever by a child that was killed holding it.
    tqdm.set_lock(threading.RLock())
    operations = 0
    def hook(event, arguments):
        nonlocal operations
        if event in FILES and (event == "ctypes.dlsym" or "prepared" in str(arguments[0])):
            operations += 1
            if operations == at:
                os.kill(os.getpid(), signal.SIGKILL)
    sys.addaudithook(hook)
    try:
        prepare.run()
    finally:
        os._exit(0)

def use(pixels):
    text = Path("params.yaml").read_text()
    Path("params.yaml").write_text("\\n".join(
        f"  pixels: {pixels}" if line.startswith("  pixels:") else line for line in text.splitlines()))

prepare.run()
old = digest()
shutil.copytree("data/prepared", "old")
use(40)
prepare.run()
new = digest()
assert old != new
outcomes = {"old": 0, "new": 0, "other": 0, "killed": 0}

def reset():
    shutil.rmtree("data/prepared", ignore_errors=True)
    shutil.copytree("old", "data/prepared")

def count(pid):
    killed = os.WIFSIGNALED(os.waitpid(pid, 0)[1])
    content = digest()
    outcomes["killed"] += killed
    outcomes["old" if content == old else "new" if content == new else "other"] += 1
    return killed

at = 1
reset()
while count(child(at)):
    reset()
    at += 1
for milliseconds in range(2, 200, 14):
    reset()
    pid = child()
    time.sleep(milliseconds / 1000)
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    count(pid)
prepare.run()
outcomes["whole"] = digest() == new
outcomes["left"] = sorted(path.name for path in Path("data").iterdir())
print(json.dumps(outcomes))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="folders change places in one step on Linux only")
def test_whenever_it_is_killed_the_outputs_are_the_old_or_the_new_ones(tmp_path):
    root = cells.write(tmp_path / "cnmc", images=1)
    shutil.copy(ROOT / "params.yaml", tmp_path)
    # The search for near copies writes nothing, and the threads of its library do not survive a fork.
    edit_params(tmp_path, data={"root": str(root), "near_copies": 0.0})
    result = subprocess.run(
        [sys.executable, "-c", DRIVER], cwd=tmp_path, env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr[-2000:]
    outcomes = json.loads(result.stdout.splitlines()[-1])
    assert outcomes["other"] == 0
    assert outcomes["killed"] >= 20
    assert outcomes["old"] > 10
    assert outcomes["new"] > 2
    assert outcomes["whole"]
    assert outcomes["left"] == ["prepared"]
