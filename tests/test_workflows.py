"""The workflows: what they run exists and is run here too; pins and rights; the scripts that no other test runs."""

import json
import os
import re
import shutil
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest
from ruamel.yaml import YAML

from job import params
from tests import ROOT
from tests.pipeline import repository

WORKFLOWS = {path.stem: YAML(typ="safe").load(path) for path in sorted(ROOT.glob(".github/workflows/*.yml"))}
STEPS = [
    (name, step) for name, flow in WORKFLOWS.items() for job in flow["jobs"].values() for step in job.get("steps", [])
]
SCRIPTS = ROOT / ".github/scripts"


@pytest.mark.parametrize("command", sorted({step["run"] for _, step in STEPS if "run" in step}))
def test_every_command_is_a_script_or_a_target(command):
    """Shell in a workflow is code that nobody runs before it fails there; two lines prepare a bare container."""
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    words = command.split()
    if words[0] == "make":
        assert words[1] in targets
    elif words[0] == "python3":
        assert (ROOT / words[1]).is_file()
    elif words[0] in ("apt-get", "git"):
        assert len(command.splitlines()) == 1
    else:
        for word in words[:2]:
            if word.startswith("."):
                assert os.access(ROOT / word, os.X_OK), word
        assert words[0].startswith(".")
    assert "${{" not in command, "a value goes through env, never into the text of a command"


def test_actions_are_pinned_and_every_job_ends():
    for name, step in STEPS:
        if "uses" in step:
            assert re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}", step["uses"]), f"{name}: {step['uses']}"
    for flow in WORKFLOWS.values():
        assert flow["permissions"] == {"contents": "read"}
        assert "concurrency" in flow
        assert all("timeout-minutes" in job for job in flow["jobs"].values())


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("npx") is None, reason="no Node.js on this machine")
def test_github_can_read_them():
    [command] = re.findall(r"^lint-workflows:.*\n\t@(.*)", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    done = subprocess.run(command, shell=True, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"Checking {len(WORKFLOWS)} workflow file" in done.stdout


class GitHub(BaseHTTPRequestHandler):
    """Comments of one pull request; two per page, whatever is asked for."""

    comments: ClassVar[list[dict]] = []
    calls: ClassVar[list[str]] = []

    def answer(self, content):
        self.calls.append(f"{self.command} {self.headers['Authorization']}")
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(content).encode())

    def content(self):
        return json.loads(self.rfile.read(int(self.headers["Content-Length"])))

    def do_GET(self):
        assert self.path.startswith("/repos/some/where/issues/7/comments?")
        page = int(re.search(r"&page=(\d+)", self.path)[1])
        self.answer(self.comments[2 * (page - 1) : 2 * page])

    def do_POST(self):
        assert self.path == "/repos/some/where/issues/7/comments"
        self.comments.append({"id": 99, "user": {"type": "Bot"}, **self.content()})
        self.answer({})

    def do_PATCH(self):
        number = int(self.path.removeprefix("/repos/some/where/issues/comments/"))
        next(comment for comment in self.comments if comment["id"] == number).update(self.content())
        self.answer({})

    def log_message(self, *_):
        pass


@pytest.fixture
def github():
    GitHub.comments = [
        {"id": 1, "user": {"type": "User"}, "body": "<!-- marker -->\nsomebody copied the marker"},
        {"id": 2, "user": {"type": "User"}, "body": "fine"},
        {"id": 3, "user": {"type": "Bot"}, "body": "another bot"},
    ]
    GitHub.calls = []
    with ThreadingHTTPServer(("127.0.0.1", 0), GitHub) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()

        def comment(body):
            environment = os.environ | {
                "GITHUB_API_URL": f"http://127.0.0.1:{server.server_port}", "GITHUB_REPOSITORY": "some/where",
                "GITHUB_TOKEN": "secret", "PULL_REQUEST": "7", "BODY": body,
            }  # fmt: skip
            subprocess.run([sys.executable, SCRIPTS / "comment.py"], env=environment, check=True)
            return GitHub.comments

        yield comment
        server.shutdown()


def test_the_comment_is_written_once_and_then_replaced(github):
    github("<!-- marker -->\nfirst")
    comments = github("<!-- marker -->\nsecond")
    assert [comment["body"] for comment in comments[3:]] == ["<!-- marker -->\nsecond"]
    assert comments[0]["body"].endswith("copied the marker")
    assert set(GitHub.calls) == {f"{verb} Bearer secret" for verb in ("GET", "POST", "PATCH")}


def test_a_long_comment_is_cut_at_a_line(github):
    body = github("<!-- marker -->\n" + "| row |\n" * 10_000)[-1]["body"]
    assert len(body) < 65_536
    assert body.endswith("| row |\n\nThe rest is in the summary of the job.")


class Vulnerabilities(BaseHTTPRequestHandler):
    """The service that pip-audit asks: what it answers of `certifi`, and nothing known of everything else."""

    answer: ClassVar[dict] = {}
    asked: ClassVar[list[str]] = []

    def do_POST(self):
        package = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["package"]["name"]
        self.asked.append(package)
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(self.answer if package == "certifi" else {}).encode())

    def log_message(self, *_):
        pass


@pytest.fixture
def audit(tmp_path):
    """Runs the audit of three locked packages against a service on this machine."""
    lock = (ROOT / "requirements-dev.lock").read_text()
    entries = re.findall(r"^(?:certifi|idna|urllib3)==.*\n(?: .*\n)+", lock, flags=re.MULTILINE)
    (tmp_path / "requirements-dev.lock").write_text("".join(entries))
    Vulnerabilities.answer, Vulnerabilities.asked = {}, []
    with ThreadingHTTPServer(("127.0.0.1", 0), Vulnerabilities) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/query"

        def run(url=url):
            options = ["--vulnerability-service", "osv", "--osv-url", url, "--cache-dir", str(tmp_path / "cache")]
            return subprocess.run(
                [sys.executable, SCRIPTS / "audit.py", *options], cwd=tmp_path, capture_output=True, text=True,
                check=False, env=repository.ENVIRONMENT | {"NO_PROXY": "127.0.0.1"},
            )  # fmt: skip

        yield run
        server.shutdown()


def materials(folder):
    return [(one["name"], one["purl"]) for one in json.loads((folder / "logs/sbom.json").read_text())["components"]]


def test_every_locked_package_is_audited_and_in_the_bill_of_materials(audit, tmp_path):
    done = audit()
    assert done.returncode == 0, done.stderr
    assert "3 packages audited, no known vulnerability" in done.stdout
    assert sorted(Vulnerabilities.asked) == ["certifi", "idna", "urllib3"]
    assert [name for name, _ in materials(tmp_path)] == ["certifi", "idna", "urllib3"]
    assert all(re.fullmatch(rf"pkg:pypi/{name}@[0-9.]+", purl) for name, purl in materials(tmp_path))


def test_a_vulnerability_is_named_with_the_version_that_mends_it(audit):
    package = {"name": "certifi", "ecosystem": "PyPI"}
    ranges = [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "9999.1"}]}]
    Vulnerabilities.answer = {
        "vulns": [{"id": "PYSEC-1", "summary": "trusts all", "affected": [{"package": package, "ranges": ranges}]}]
    }
    done = audit()
    assert done.returncode == 1
    assert "PYSEC-1, mended in 9999.1. trusts all" in done.stdout
    assert "error: 1 known" in done.stderr


def test_a_service_that_does_not_answer_is_an_error_and_the_bill_is_written(audit, tmp_path):
    done = audit("http://127.0.0.1:9/query")
    assert done.returncode == 1
    assert done.stderr.startswith("error: the service that knows vulnerabilities did not answer")
    assert len(done.stderr.splitlines()) == 1
    assert len(materials(tmp_path)) == 3


def test_packages_that_were_not_audited_are_not_called_harmless(tmp_path):
    """pip-audit itself leaves with 0 where the service, such as a mirror of the index, knows no package."""
    tool = tmp_path / "bin/pip-audit"
    tool.parent.mkdir()
    tool.write_text("""#!/bin/sh
echo '{"dependencies": [{"name": "a", "version": "1", "vulns": []}, {"name": "b", "skip_reason": "not found: b (2)"}]}'
""")
    tool.chmod(0o755)
    (tmp_path / "requirements-dev.lock").write_text("a==1 \\\nb==2 \\\n")
    path = f"{tool.parent}:{repository.ENVIRONMENT['PATH']}"
    done = subprocess.run(
        [sys.executable, SCRIPTS / "audit.py"], cwd=tmp_path, capture_output=True, text=True, check=False,
        env=repository.ENVIRONMENT | {"PATH": path},
    )  # fmt: skip
    assert done.returncode == 1
    assert "error: 1 of 2 packages were not audited" in done.stderr
    assert "not found: b (2)" in done.stderr
    assert len(materials(tmp_path)) == 2


def test_changes_name_metrics_and_parameters(tmp_path):
    folder = repository.create(tmp_path / "copy")
    figures = folder / "results/summary.json"
    figures.parent.mkdir(exist_ok=True)
    for auroc in (0.5, 0.75):
        figures.write_text(json.dumps({"efficientnet": {"auroc": auroc}}))
        repository.change(folder, {"train": {"epochs": int(100 * auroc)}})
        repository.run(folder, "git", "add", "--all", "--force")
        repository.run(folder, "git", "commit", "--quiet", "--message", str(auroc))
    summary, output = tmp_path / "summary", tmp_path / "output"
    environment = repository.ENVIRONMENT | {"GITHUB_STEP_SUMMARY": str(summary), "GITHUB_OUTPUT": str(output)}
    command = [".github/scripts/changes", "HEAD~1"]
    said = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=True).stdout
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in said.splitlines() if line.startswith("|")]
    assert ["results/summary.json", "efficientnet.auroc", "0.5", "0.75", "0.25"] in cells
    assert ["params.yaml", "train.epochs", "50", "75"] in [row[:4] for row in cells]
    assert summary.read_text() == said
    assert repository.script(folder, "changes", "HEAD").stdout.count("No change.") == 2
    name, *lines, end = output.read_text().splitlines()
    assert name == f"text<<{end}"
    assert "\n".join(lines).strip() == said.strip()


def test_the_preflight_of_a_training_run_is_of_its_own_parameters(tmp_path):
    folder = repository.create(tmp_path / "copy")
    repository.change(folder, {"data": {"root": "/nowhere/at/all"}})
    begin = ["bash", "-c", "source .github/scripts/lib && begin"]
    variables = {"DVC_REMOTE": str(tmp_path / "remote"), "OVERRIDES": "data.root=data/raw/demo"}
    assert "synthetic cells" in repository.run(folder, *begin, **variables).stdout
    failed = repository.run(folder, *begin, check=False, **variables | {"OVERRIDES": "data.root=/not/here/either"})
    assert failed.returncode == 2
    assert "/not/here/either does not exist" in failed.stdout


@pytest.mark.parametrize(
    ("text", "root"),
    [
        ('train.epochs=2 data.root="/d/C-NMC 2019 (PKG)"', "/d/C-NMC 2019 (PKG)"),
        ("\"data.root='/d/C-NMC 2019 (PKG)'\" train.epochs=2", "/d/C-NMC 2019 (PKG)"),
        ("'data.root=/d/Blood [ALL]' train.epochs=2", "/d/Blood [ALL]"),
        ('data.root="/d/it\'s # 1" train.epochs=2', "/d/it's # 1"),
        ("data.root=/d/Größe,a=b train.epochs=2", "/d/Größe,a=b"),
        ('"folds=[1, 2]" train.epochs=2', "data/raw/demo"),
        ("folds=[1, 2]", "error: '2]' is no section.key=value: put quotes around a value with spaces"),
        ("data.root=it's", "error: data.root=it's: No closing quotation"),
        ("train.epohs=3", "error: Could not override 'train.epohs'"),
        ("data.root=${x}", "error: Interpolation key 'x' not found"),
    ],
)
def test_parameters_of_a_run_may_hold_the_characters_of_real_folders(tmp_path, text, root):
    shutil.copy(ROOT / "params.yaml", tmp_path)
    command = [sys.executable, SCRIPTS / "override.py", text]
    said = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    if said.returncode:
        assert said.stderr.startswith(root)
    else:
        values = params.load(tmp_path / "params.yaml")
        assert (values.data.root, values.train.epochs) == (root, 2)


@pytest.mark.parametrize("ending", ["true", "false"])
def test_the_key_of_the_remote_is_there_for_its_owner_while_the_script_runs(tmp_path, ending):
    folder = repository.create(tmp_path / "copy")
    (folder / ".dvc/tmp").mkdir()
    command = f"source .github/scripts/lib; configure_remote; stat -c 'mode %a' .dvc/tmp/remote.key; {ending}"
    variables = {"DVC_REMOTE": "ssh://somebody@example.org/store", "DVC_REMOTE_KEY": "secret"}
    said = repository.run(folder, "bash", "-c", command, check=False, **variables)
    assert "mode 600" in said.stdout
    assert said.returncode == (ending == "false")
    assert not (folder / ".dvc/tmp/remote.key").exists()


def test_a_result_is_kept_once_as_a_branch_of_its_run_and_attempt(tmp_path):
    folder = repository.create(tmp_path / "copy")
    origin = tmp_path / "origin"
    repository.run(tmp_path, "git", "clone", "--quiet", "--bare", folder, origin)
    repository.run(folder, "git", "remote", "add", "origin", origin)
    before = repository.run(folder, "git", "rev-parse", "HEAD").stdout
    said = repository.script(folder, "keep", RUN_ID="17", GITHUB_RUN_ATTEMPT="1").stdout
    assert said == f"The result is that of commit {before[:7]}: there is nothing to keep.\n"
    for attempt in ("1", "2"):
        repository.run(folder, "git", "reset", "--quiet", "--hard", before.strip())
        (folder / "dvc.lock").write_text(f"of attempt {attempt}\n")
        repository.script(folder, "keep", RUN_ID="17", GITHUB_RUN_ATTEMPT=attempt, OVERRIDES="train.epochs=2")
        kept = ["git", "show", f"results/17-{attempt}:dvc.lock"]
        assert repository.run(origin, *kept).stdout == f"of attempt {attempt}\n"
    assert "17 with train.epochs=2" in repository.run(origin, "git", "log", "-1", "results/17-2").stdout


@pytest.fixture
def site(tmp_path):
    """Runs the script `site` with tools that only say what they are told; `ready` is whether doctor is content."""
    for name in ("lib", "site"):
        (tmp_path / ".github/scripts").mkdir(parents=True, exist_ok=True)
        shutil.copy(SCRIPTS / name, tmp_path / ".github/scripts")
    (tmp_path / ".venv/bin").mkdir(parents=True)
    for name in ("make", "dvc", "python"):
        tool = tmp_path / ".venv/bin" / name
        tool.write_text(f'#!/bin/sh\necho {name} "$@"\ncase "$*" in *doctor) exit "$WRONG";; esac\n')
        tool.chmod(0o755)

    def run(remote, *, ready=True, DVC_REMOTE_KEY="secret"):  # noqa: N803 - the name of the variable
        environment = {"PATH": f"{tmp_path / '.venv/bin'}:/usr/bin:/bin", "WRONG": "0" if ready else "2"}
        (tmp_path / ".dvc/tmp").mkdir(parents=True, exist_ok=True)
        return subprocess.run(
            [tmp_path / ".github/scripts/site"],
            env=environment | {"DVC_REMOTE": str(remote), "DVC_REMOTE_KEY": DVC_REMOTE_KEY},
            capture_output=True, text=True, check=False,
        )  # fmt: skip

    return run


def test_a_folder_that_a_lent_runner_does_not_see_is_no_remote(site, tmp_path):
    for remote in ("", "/not/here"):
        said = site(remote)
        assert said.returncode == 0, said.stderr
        assert said.stdout.endswith("python -m job doctor\nmake report\n")
        assert "dvc" not in said.stdout
        assert ("::notice::DVC_REMOTE is a folder" in said.stdout) == bool(remote)
    said = site("ssh://somebody@example.org/store", DVC_REMOTE_KEY="").stdout
    assert "::notice::DVC_REMOTE needs the secret DVC_REMOTE_KEY" in said
    assert said.endswith("python -m job doctor\nmake report\n")
    for remote in (tmp_path, "ssh://somebody@example.org/store"):
        said = site(remote).stdout
        assert f"shared {remote}\n" in said
        assert said.endswith("python -m job doctor\ndvc pull report\npython -m job site\n")
        assert "notice" not in said


def test_a_report_is_fetched_where_its_data_are_not(site, tmp_path):
    assert site("", ready=False).returncode == 2
    said = site(tmp_path, ready=False)
    assert said.returncode == 0
    assert "::notice::not ready to train" in said.stdout
    assert "dvc pull report" in said.stdout


@pytest.fixture
def docker(tmp_path):
    """Runs a script with a docker and an nvidia-smi that do nothing; what docker was told, a list for each call."""
    told = 'printf "%s\\n" "$@" "" >>"$TOLD"'
    acts = 'case $1 in ps) echo 1234 ;; build) echo sha256:built >"$3" ;; esac'
    for name, does in (("docker", f"{told}; {acts}"), ("nvidia-smi", "")):
        tool = tmp_path / "bin" / name
        tool.parent.mkdir(exist_ok=True)
        tool.write_text(f"#!/bin/sh\n{does}\n")
        tool.chmod(0o755)

    def run(*command, **variables):
        told = tmp_path / "told"
        told.write_text("")
        environment = {"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}", "TOLD": str(told), "HOME": str(tmp_path)}
        subprocess.run([SCRIPTS / command[0], *command[1:]], env=environment | variables, check=True)
        return [part.split("\n") for part in told.read_text().strip().split("\n\n")]

    return run


def test_a_command_in_the_container_gets_the_repository_the_remote_and_nothing_else(docker, tmp_path):
    output = tmp_path / "output"
    output.touch()
    build, run = docker(
        "in-container", ".github/scripts/fold", "efficientnet-3", DVC_REMOTE=str(tmp_path), OVERRIDES="train.epochs=2",
        GIT_TOKEN="secret", GITHUB_OUTPUT=str(output),
    )  # fmt: skip
    assert build[0] == "build"
    assert run[-5:] == ["--entrypoint", "gently", "sha256:built", ".github/scripts/fold", "efficientnet-3"]
    assert f"{os.getuid()}:{os.getgid()}" in run
    assert {f"{Path(ROOT)}:/job", f"{tmp_path}:{tmp_path}", f"{output}:{output}"} <= set(run)
    assert {"OVERRIDES", "DVC_REMOTE", "GITHUB_OUTPUT"} == {run[i + 1] for i, word in enumerate(run) if word == "--env"}
    assert "secret" not in str([build, run])


@pytest.mark.parametrize(
    ("variables", "expected"),
    [({}, "all"), ({"CUDA_VISIBLE_DEVICES": "2"}, '"device=2"'), ({"CUDA_VISIBLE_DEVICES": "0,3"}, '"device=0,3"')],
)
def test_runners_side_by_side_have_their_own_gpus(docker, variables, expected):
    run = docker("in-container", "true", **variables)[-1]
    assert run[run.index("--gpus") + 1] == expected


def test_a_cancelled_job_ends_its_own_container(docker):
    variables = {"GITHUB_RUN_ID": "17", "RUNNER_NAME": "left"}
    run = docker("in-container", "true", **variables)[-1]
    listed, stopped = docker("stop", **variables)
    assert run[run.index("--label") + 1] == "job=17-left"
    assert listed == ["ps", "--quiet", "--filter", "label=job=17-left"]
    assert stopped == ["stop", "-t", "120", "1234"]


def test_the_published_image_has_its_papers(docker):
    variables = {
        "IMAGE": "ghcr.io/Some/Where",
        "GITHUB_REF_NAME": "v1",
        "GITHUB_ACTOR": "somebody",
        "GIT_TOKEN": "secret",
    }
    login, _, build = docker("publish", **variables)
    assert login == ["login", "ghcr.io", "--username", "somebody", "--password-stdin"]
    assert {"--push", "--sbom=true", "--provenance=mode=max", "linux/amd64", "ghcr.io/some/where:v1"} <= set(build)
    assert "LOCK" not in str(build)
    assert "WEIGHTS=efficientnet-lite0 efficientnet-b0" in build, "Apptainer cannot add them afterwards"


def test_every_job_on_gpu_runners_ends_its_container_and_the_first_tests_the_gpu():
    jobs = WORKFLOWS["train"]["jobs"]
    commands = {name: [step.get("run", "") for step in job["steps"]] for name, job in jobs.items()}
    assert ".github/scripts/in-container pytest -m gpu" in commands["inputs"]
    for name, job in jobs.items():
        stop = job["steps"][commands[name].index(".github/scripts/stop")]
        assert stop["if"] == "cancelled()", name


def test_the_base_image_is_one_and_the_same():
    [base] = re.findall(r"^ARG BASE_IMAGE=(.*)$", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE)
    assert re.fullmatch(r"[\w./-]+:[\w.-]+@sha256:[0-9a-f]{64}", base)
