"""Ending a stage well, and the whole pipeline under a real Slurm: a controller and a node on this machine."""

import errno
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import pytest
from ruamel.yaml import YAML

from job.errors import UserError
from job.training import restart
from tests import ROOT
from tests.pipeline import repository

SLURM = ["munged", "mungekey", "slurmctld", "slurmd", "sbatch"]
OUTPUTS = ("data", "runs", "predictions", "ensembles", "results", "site")
DVC = """
import os, subprocess, sys, time
from pathlib import Path
Path("dvc-started").write_text(os.environ.get("IN_CONTAINER", ""))
time.sleep(0.5)  # it reads the repository
code = subprocess.call([sys.executable, "-c", Path("stage.py").read_text()])
time.sleep(0.5)  # it records
Path("unlocked").touch()
sys.exit(255 if code else 0)
"""
STAGE = """
import signal, sys, time
from pathlib import Path
told = []
signal.signal(signal.SIGTERM, lambda *_: told.append(1))
Path("stage-started").touch()
while not told:
    time.sleep(0.05)
time.sleep(0.5)  # it saves
Path("saved").write_text(str(len(told)))
sys.exit(143)
"""
IN_A_CONTAINER = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]


def waited_for(condition, seconds=60.0):
    """The first true answer."""
    until = time.monotonic() + seconds
    while not (answer := condition()):
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.05)
    return answer


def write_programs(folder):
    """A DVC and a stage that tell by files how far they are, and an scontrol that tells what it was asked for."""
    for name, text in (("dvc", f"#!{sys.executable}\n{DVC}"), ("scontrol", '#!/bin/sh\necho "$@" >asked\n')):
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    (folder / "stage.py").write_text(STAGE)


@pytest.mark.parametrize("namespace", [[], IN_A_CONTAINER], ids=["machine", "process 1"])
@pytest.mark.parametrize("after", ["stage-started", "dvc-started"])
def test_sigterm_ends_the_stage_and_dvc_ends_by_itself(tmp_path, namespace, after):
    """Also where it comes before DVC has started a stage: then it ends the next one, saved or not."""
    if namespace and subprocess.run([*namespace, "true"], check=False).returncode:
        pytest.skip("no namespace of processes may be made here")
    write_programs(tmp_path)
    process = subprocess.Popen([*namespace, ROOT / "job/gently", tmp_path / "dvc"], cwd=tmp_path)
    waited_for((tmp_path / after).exists)
    gently = psutil.Process(process.pid).children()[0] if namespace else process
    gently.send_signal(signal.SIGTERM)
    assert process.wait(60) == 255
    assert (tmp_path / "unlocked").exists()
    if after == "stage-started":
        assert (tmp_path / "saved").read_text() == "1", "told once: a second SIGTERM would disturb it"


@pytest.mark.parametrize(
    ("number", "variables", "asked"),
    [
        (signal.SIGUSR1, {"SLURM_JOB_ID": "7", "SLURM_ARRAY_JOB_ID": "7", "SLURM_ARRAY_TASK_ID": "2"}, "requeue 7_2\n"),
        (signal.SIGUSR1, {"SLURM_JOB_ID": "6"}, "requeue 6\n"),
        (signal.SIGTERM, {"SLURM_JOB_ID": "6"}, None),
    ],
    ids=["limit of a task", "limit of a job", "cancelled"],
)
def test_a_time_limit_puts_one_task_back_into_the_queue(tmp_path, number, variables, asked):
    """The last task of an array has the number of the whole array as its number of a job."""
    write_programs(tmp_path)
    (tmp_path / "job").symlink_to(ROOT / "job")
    container = {"JOB_CONTAINER": "env IN_CONTAINER=yes"}
    environment = os.environ | variables | container | {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    process = subprocess.Popen(["job/slurm", "task", "a-1", "b-2"], cwd=tmp_path, env=environment)
    waited_for((tmp_path / "stage-started").exists)
    process.send_signal(number)
    assert process.wait(60) != 0
    assert (tmp_path / "saved").exists()
    assert (tmp_path / "dvc-started").read_text() == "yes", "JOB_CONTAINER is not in front"
    assert ((tmp_path / "asked").read_text() if asked else None) == asked
    assert (tmp_path / "asked").exists() == (asked is not None)


def test_a_fold_has_one_trainer_on_a_file_system_without_locks(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr("fcntl.flock", refuse)
    monkeypatch.setattr(restart, "_WAIT_SECONDS", 4)  # after two, a lock file that holds anything else is taken over
    with (
        pytest.warns(UserWarning, match="flock not supported"),
        restart.opened(tmp_path / "fold", "digest", 60),
        pytest.raises(UserError, match="trains this fold already"),
        restart.opened(tmp_path / "fold", "digest", 60),
    ):
        raise AssertionError


def test_the_job_of_the_document_on_kubernetes_names_a_fold_by_its_index(tmp_path):
    [text] = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs/operations.md").read_text(), flags=re.DOTALL)
    job = YAML(typ="safe").load(text)["spec"]
    [container] = job["template"]["spec"]["containers"]
    write_programs(tmp_path)
    (tmp_path / "dvc").write_text('#!/bin/sh\necho "$@"\n')
    environment = os.environ | {"PATH": f"{tmp_path}:{Path(sys.executable).parent}:{ROOT / 'job'}:{os.environ['PATH']}"}
    said = [
        subprocess.check_output(
            [*container["command"], *container["args"]],
            cwd=ROOT,
            env=environment | {"JOB_COMPLETION_INDEX": str(index)},
            text=True,
        )
        for index in (0, job["completions"] - 1)
    ]
    names = repository.run(ROOT, "python", "-m", "job", "folds", "--list").stdout.split()
    assert said == [
        f"--wait-for-lock repro --single-item train@{name} predict@{name}\n" for name in (names[0], names[-1])
    ]
    assert len(names) == job["completions"]


def test_a_command_that_nobody_disturbs_keeps_its_input_and_exit_code():
    command = [ROOT / "job/gently", "bash", "-c", "cat; exit 7"]
    done = subprocess.run(command, input="said", capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (7, "said", "")


@pytest.fixture(scope="module")
def slurm():
    """The environment of a Slurm with one node of two processors, and a function that restarts the node at once."""
    path = repository.ENVIRONMENT["PATH"] + ":/usr/sbin"
    if any(shutil.which(program, path=path) is None for program in SLURM) or os.getuid() != 0:
        pytest.skip("no Slurm here, or not root (apt-get install slurm-wlm munge)")
    folder = Path(tempfile.mkdtemp(prefix="slurm-"))
    host, ports = socket.gethostname().split(".")[0], []
    for _ in range(2):
        with socket.create_server(("127.0.0.1", 0)) as free:
            ports.append(free.getsockname()[1])
    (folder / "slurm.conf").write_text(f"""
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
StateSaveLocation={folder}/controller
SlurmdSpoolDir={folder}/node
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
ReturnToService=2
MpiDefault=none
NodeName={host} NodeAddr=127.0.0.1 CPUs=2
PartitionName=main Nodes=ALL Default=YES State=UP
""")
    environment = repository.ENVIRONMENT | {"PATH": path, "SLURM_CONF": str(folder / "slurm.conf")}
    subprocess.run(["mungekey", "--create", "--keyfile", folder / "munge.key"], env=environment, check=True)
    names = {"key-file": "key", "socket": "socket", "pid-file": "pid", "log-file": "log", "seed-file": "seed"}
    munge = [f"--{option}={folder}/munge.{name}" for option, name in names.items()]
    started = {}

    def start(*command):
        started[command[0]] = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)

    def restart():
        time.sleep(21)  # of a younger job Slurm thinks that it is about to start
        started["slurmd"].kill()
        started["slurmd"].wait()
        # The daemon's children are those of process 1: the steps of jobs, which outlive it.
        for process in psutil.process_iter(["name"]):
            below = process.children(recursive=True) if process.info["name"] == "slurmstepd" else []
            if any(str(folder) in " ".join(one.cmdline()) for one in below):
                for one in (*below, process):
                    one.kill()
        start("slurmd", "-D", "-b")

    start("munged", "--foreground", "--force", *munge)
    waited_for((folder / "munge.socket").exists)
    start("slurmctld", "-D")
    start("slurmd", "-D")
    waited_for(lambda: "idle" in repository.run(folder, "sinfo", check=False, **environment).stdout)
    yield environment, restart
    subprocess.run(["scancel", "--user=root"], env=environment, check=False)
    for process in reversed(started.values()):
        process.terminate()
        process.wait()
    shutil.rmtree(folder)


@pytest.mark.slow
def test_slurm_gives_the_bytes_of_a_run_in_peace(slurm, tmp_path):
    """The node restarts while two folds train, and a time limit strikes one of them."""
    environment, restart_node = slurm
    folder = repository.create(tmp_path / "slurm")
    # Two folds for two cores: of more, others would begin first when the node is back. On a quick machine, too, they
    # must not end before the limit of a minute strikes.
    changes = {"train": {"epochs": 400}, "machine": {"save_every_seconds": 1}, "methods": ["efficientnet"]}
    repository.change(folder, changes)
    repository.run(folder, "git", "commit", "--quiet", "--all", "--message", "longer")
    repository.run(tmp_path, "git", "clone", "--quiet", folder, "peace")
    repository.run(tmp_path / "peace", "python", "-m", "job", "folds", "--jobs", "2")
    repository.run(tmp_path / "peace", "dvc", "repro")

    def logs():
        return {path.name: path.read_text() for path in folder.glob("logs/slurm-*.log")}

    def saved():
        return {path.parts[-3] for path in folder.glob(".state/*/*/*.state")}

    repository.lend_environment(folder)
    repository.run(folder, "job/slurm", "--time=60", "--signal=B:USR1@20", **environment)
    waited_for(lambda: len(saved()) == 2, 600)
    restart_node()
    waited_for(lambda: sum("goes on after" in text for text in logs().values()) == 2, 600)
    repository.run(folder, "scontrol", "update", "JobId=2_1", "TimeLimit=1", **environment)
    waited_for(lambda: any("stopped by SIGTERM" in text for text in logs().values()), 600)
    repository.run(folder, "scontrol", "update", "JobId=2_1", "TimeLimit=60", **environment)
    waited_for(lambda: not repository.run(folder, "squeue", "--noheader", **environment).stdout, 1200)
    assert repository.digests(folder, *OUTPUTS) == repository.digests(tmp_path / "peace", *OUTPUTS)
    assert len(repository.digests(folder, "runs")) >= 8
    assert (folder / "site/moment.html").is_file(), "the last job says when and where"
    limited = [text for text in logs().values() if "stopped by SIGTERM" in text]
    assert len(limited) == 1, "the time of one task says nothing of the others"
    assert limited[0].count("goes on after") >= 2


@pytest.mark.slow
def test_what_is_cancelled_does_not_come_back(slurm, tmp_path):
    environment, _ = slurm
    folder = repository.create(tmp_path / "slurm")
    repository.lend_environment(folder)

    def states():
        return repository.run(folder, "squeue", "--noheader", "--format=%t", **environment).stdout.split()

    repository.run(folder, "job/slurm", **environment)
    waited_for(lambda: "R" in states())
    repository.run(folder, "scancel", "--user=root", **environment)
    waited_for(lambda: not states())
    # DVC clears the locks of what was killed; the first job of a fold that fails cancels those that wait for it.
    assert "Updating lock file" in repository.run(folder, "dvc", "repro", "check", "--force").stdout
