"""The arrows between the rooms, and that DVC knows every module a stage runs."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from dvc.stage.cache import _get_cache_hash
from ruamel.yaml import YAML

from job import params
from job.contracts.methods import DISPLAY_NAMES
from job.training import identity

ROOT = Path(__file__).parent.parent
MODULES = {
    path.relative_to(ROOT).with_suffix("").as_posix().replace("/", "."): path for path in ROOT.glob("job/**/*.py")
}
METHODS = list(params.METHODS)
PIPELINE = YAML(typ="safe").load(ROOT / "dvc.yaml")["stages"]
PLUMBING = {"job.errors", "job.files", "job.seeds", "job.params", "job.temperature"}
# The rooms and what each may import beside itself, contracts and plumbing.
ROOMS: dict[str, set[str]] = {
    "contracts": set(),
    "data": set(),
    "demo": {"data"},
    "split": {"data"},
    "models": set(),
    "inference": {"models"},
    "training": {"inference", "models"},
    "methods": {"training", "inference", "models"},
    "evaluation": set(),
    "reporting": set(),
    "ensemble": {"inference", "models", "data", "reporting", "evaluation"},
    "commands": {"ensemble", "inference", "models", "data", "reporting", "evaluation"},
    "stages": {"data", "demo", "split", "methods", "training", "inference", "models", "evaluation", "reporting"},
}
# Modules that cannot change an output: messages, the validation of parameters (their values are tracked by DVC), what
# a person sees while a fold trains.
NO_OUTPUT = {"job.errors", "job.params"}


def imports(module: str) -> set[str]:
    """Modules of `job` that a module imports anywhere in its text."""
    names = set()
    for node in ast.walk(ast.parse(MODULES[module].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: relative import"
            names.add(node.module or "")
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {name for name in names if name in MODULES and not is_package(name)}


def is_package(name: str) -> bool:
    return f"{name}.__init__" in MODULES


def closure(module: str) -> set[str]:
    reached: set[str] = set()
    waiting = [module]
    while waiting:
        name = waiting.pop()
        if name not in reached:
            reached.add(name)
            waiting += imports(name)
    return reached


@pytest.mark.parametrize("module", sorted(name for name in MODULES if name.count(".") >= 2))
def test_imports_point_one_way(module):
    room = module.split(".")[1]
    for imported in imports(module):
        if imported in PLUMBING:
            continue
        assert imported.split(".")[1] in ROOMS[room] | {room, "contracts"}, f"{module} imports {imported}"


@pytest.mark.parametrize("name", [name for name in MODULES if name.endswith("__init__")])
def test_package_files_hold_a_docstring_only(name):
    """Code there would run with every import of the room, unseen by the list of dependencies."""
    body = ast.parse(MODULES[name].read_text(encoding="utf-8")).body
    assert [type(statement) for statement in body] == [ast.Expr], name


def dependencies(stage: str, method: str = "") -> set[str]:
    listed = set()
    for item in PIPELINE[stage]["deps"]:
        path = ROOT / str(item).replace("${item.method}", method)
        if path.suffix == ".py":
            assert path.is_file(), f"{stage}: {item} does not exist"
            listed.add(path.relative_to(ROOT).with_suffix("").as_posix().replace("/", "."))
        elif path.is_relative_to(ROOT / "job"):
            listed |= {name for name, file in MODULES.items() if file.is_relative_to(path)}
    return {name for name in listed if not name.endswith("__init__")}


@pytest.mark.parametrize("stage", PIPELINE)
def test_dvc_tracks_every_module_that_a_stage_runs(stage):
    used = closure(f"job.stages.{stage}") - NO_OUTPUT
    if stage == "train":
        for method in METHODS:
            reached = (used | closure(f"job.methods.{method}")) - NO_OUTPUT
            assert reached <= dependencies(stage, method), method
    elif stage == "check":
        assert dependencies(stage) == {"job.stages.check", "job.params"}
    else:
        listed = dependencies(stage)
        assert used <= listed, f"not listed: {sorted(used - listed)}"


def test_stages_are_named_like_their_files():
    assert set(PIPELINE) == {name.rsplit(".", 1)[1] for name in MODULES if name.startswith("job.stages.")} - {
        "__init__"
    }


def test_only_evaluate_can_read_the_truth():
    """The labels of test images are in truth.csv and index.csv; no stage that runs a network depends on them."""

    def readers(file: str) -> set[str]:
        covering = {file, *(parent.as_posix() for parent in Path(file).parents)}
        return {
            stage
            for stage, entry in PIPELINE.items()
            if covering & {str(item).replace("${data.root}", "data/raw/demo") for item in entry["deps"]}
        }

    assert readers("data/truth.csv") == {"evaluate"}
    assert readers("data/prepared/index.csv") == {"split", "evaluate"}
    assert readers("data/raw/demo") == {"prepare"}
    named = {name for name, path in MODULES.items() if "truth.csv" in path.read_text(encoding="utf-8")}
    rooms = {name for name in named if not name.startswith("job.evaluation.")}
    assert rooms <= {"job.split.assignment", "job.contracts.paths", "job.stages.split", "job.stages.evaluate"}


@pytest.mark.parametrize("stage", ["predict", "explain"])
def test_networks_in_use_need_nothing_of_training(stage):
    """An edit of the saver of checkpoints must predict nothing again."""
    assert not {name for name in closure(f"job.stages.{stage}") if name.startswith(("job.training.", "job.methods."))}


def test_every_method_has_a_name_and_an_artifact():
    assert list(DISPLAY_NAMES) == ["across", *METHODS]
    artifacts = {entry["path"] for entry in YAML(typ="safe").load(ROOT / "dvc.yaml")["artifacts"].values()}
    assert artifacts == {f"ensembles/{method}" for method in METHODS}


@pytest.mark.parametrize("room", ["evaluation", "reporting"])
def test_evidence_and_report_run_without_torch(room):
    names = [name for name in MODULES if name.startswith(f"job.{room}.") and not name.endswith("__init__")]
    code = "import sys\n" + "".join(f"import {name}\n" for name in names) + "sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def _tracked(stage):
    """Every parameter that a stage tracks, as DVC's lock file holds it: a whole section, or a value by its path."""
    values = YAML(typ="safe").load(ROOT / "params.yaml")
    tracked = {}
    for path in PIPELINE[stage].get("params", []):
        for name in METHODS if path == "${item.method}" else [path]:
            section, _, key = name.partition(".")
            tracked[name] = values[section][key] if key else values[section]
    return tracked


@pytest.mark.parametrize("stage", PIPELINE)
def test_the_run_cache_tells_every_parameter_apart(stage):
    """DVC leaves keys named `size` out of what it looks up, and would restore pixels of another size."""

    def key(params):
        return _get_cache_hash({"cmd": "", "params": {"params.yaml": params}, "outs": []}, key=True)

    tracked = _tracked(stage)
    for path, value in tracked.items():
        for name in value if isinstance(value, dict) else [None]:
            other = value | {name: "another"} if name else "another"
            assert key(tracked) != key(tracked | {path: other}), f"{path}: name {name} in dvc.yaml by itself"


@pytest.mark.parametrize("method", METHODS)
def test_training_runs_again_for_what_identifies_a_run_and_for_nothing_else(method):
    """A new parameter of `train` must be named in dvc.yaml; what changes no result must not."""
    assert _tracked("train").keys() >= identity.parameters(params.load(ROOT / "params.yaml"), method).keys()
    assert all("machine" not in str(PIPELINE[stage].get("params")) for stage in PIPELINE)
