"""A DVC remote on another machine: a real SSH server, on this machine's own address."""

import getpass
import shutil
import socket
import subprocess
import time
from pathlib import Path

import pytest

from tests.pipeline import repository

SSHD = shutil.which("sshd", path="/usr/sbin:/usr/bin:/usr/local/sbin")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(SSHD is None, reason="no SSH server on this machine (apt-get install openssh-server)"),
]


@pytest.fixture
def server(tmp_path):
    """Port of an SSH server that lets this user in with one key."""
    for name in ("host", "user"):
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / name]
        subprocess.run(command, check=True)
    if not Path("/run/sshd").exists():
        Path("/run/sshd").mkdir()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    options = {
        "ListenAddress": "127.0.0.1", "HostKey": tmp_path / "host", "AuthorizedKeysFile": tmp_path / "user.pub",
        "StrictModes": "no", "UsePAM": "no", "PasswordAuthentication": "no", "PermitRootLogin": "prohibit-password",
        "PidFile": "none", "Subsystem": "sftp internal-sftp",
    }  # fmt: skip
    arguments = [part for name, value in options.items() for part in ("-o", f"{name}={value}")]
    with (tmp_path / "sshd.log").open("w") as log:
        process = subprocess.Popen([SSHD, "-D", "-e", "-f", "/dev/null", "-p", str(port), *arguments], stderr=log)
    try:
        for _ in range(100):
            with socket.socket() as client:
                if client.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.1)
        yield port
    finally:
        process.terminate()
        process.wait()


def test_push_and_pull_over_ssh(server, tmp_path):
    folder = repository.create(tmp_path / "one")
    url = f"ssh://{getpass.getuser()}@127.0.0.1:{server}{tmp_path / 'store'}"
    (tmp_path / "store").mkdir()

    def connect(clone):
        repository.run(clone, "dvc", "remote", "add", "--local", "--default", "lab", url)
        repository.run(clone, "dvc", "remote", "modify", "--local", "lab", "keyfile", tmp_path / "user")

    connect(folder)
    repository.run(folder, "dvc", "repro", "split")
    repository.run(folder, "git", "add", "--all")
    repository.run(folder, "git", "commit", "--quiet", "--message", "split")
    assert "lab answers" in repository.run(folder, "python", "-m", "job", "doctor").stdout
    repository.run(folder, "dvc", "push", "--with-deps", "split")
    clone = tmp_path / "two"
    repository.run(tmp_path, "git", "clone", "--quiet", folder, clone)
    connect(clone)
    repository.run(clone, "dvc", "pull", "--with-deps", "split")
    assert repository.stages_run(repository.run(clone, "dvc", "repro", "split").stdout) == []
    assert repository.digests(clone, "data") == repository.digests(folder, "data")


def test_a_job_of_a_workflow_reaches_the_remote_with_its_secret_key(server, tmp_path):
    (tmp_path / "store").mkdir()
    variables = {
        "DVC_REMOTE": f"ssh://{getpass.getuser()}@127.0.0.1:{server}{tmp_path / 'store'}",
        "DVC_REMOTE_KEY": (tmp_path / "user").read_text(),
    }
    origin = repository.create(tmp_path / "origin")
    for name, stages in (("first", ["check", "demo", "prepare", "split"]), ("second", [])):
        clone = tmp_path / name
        repository.run(tmp_path, "git", "clone", "--quiet", origin, clone)
        said = repository.script(clone, "inputs", **variables).stdout
        assert "shared answers" in said
        assert repository.stages_run(said) == stages
        assert not (clone / ".dvc/tmp/remote.key").exists(), "a runner of one's own keeps the folder"
        tracked = repository.run(clone, "git", "status", "--porcelain", "--untracked-files=all").stdout
        assert "key" not in tracked
        assert "config" not in tracked
    assert repository.digests(tmp_path / "first", "data") == repository.digests(tmp_path / "second", "data")
