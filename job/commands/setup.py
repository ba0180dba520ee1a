"""The checks of `doctor` that need the installed packages: parameters, device, data, weights, the DVC remote."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import torch

from job import params as parameters
from job.commands.doctor import GIB, Finding
from job.commands.machine import gpus
from job.contracts import paths
from job.errors import UserError
from job.files import awaits_fetch, check_cache, dvc_settings
from job.inference import runtime
from job.models import weights
from job.params import Params

PATIENCE = 20  # seconds that a DVC remote has to answer


def findings() -> Iterator[tuple[str, Finding]]:
    """Everything that depends on params.yaml, then the remote; nothing else where params.yaml is wrong."""
    try:
        params = parameters.load()
    except UserError as error:
        yield "parameters", Finding("wrong", str(error), "fix params.yaml; what depends on it was not checked")
        return
    yield "parameters", Finding("ok", "params.yaml is valid")
    yield "device", _device(params.train.device)
    try:
        check_cache()
        yield "cache", Finding("ok", "DVC's cache can be written to")
    except UserError as error:
        yield "cache", Finding("wrong", str(error))
    yield "data", _data(params)
    yield "weights", _weights(params)
    yield "DVC remote", _remote()


def _device(asked: str) -> Finding:
    driver = (gpus() or [""])[0]
    if asked != "cpu" and (problem := runtime.unusable_gpu(seen=bool(driver))):
        return Finding("wrong", problem, f"the driver is {driver or 'not answering'}; or set train.device=cpu")
    if torch.cuda.is_available():
        properties, count = torch.cuda.get_device_properties(0), torch.cuda.device_count()
        text = f"{count} x {properties.name}, {properties.total_memory / GIB:.0f} GiB, driver {driver or '?'}"
        if count > 1 and shutil.disk_usage("/dev/shm").free < GIB:  # noqa: S108 - where processes share memory
            return Finding("note", text, "several GPUs on one fold need more shared memory: docker run --shm-size=1g …")
        return Finding("ok", text)
    if asked == "cuda":
        remedy = "in a container: docker run --gpus all …; otherwise train.device=auto or cpu"
        return Finding("wrong", "train.device=cuda, but there is no GPU here", remedy)
    return Finding("ok", "the CPU; no NVIDIA driver here")


def _data(params: Params) -> Finding:
    root = Path(params.data.root)
    if root == paths.DEMO:
        return Finding("ok", f"{params.demo.images} synthetic cells, drawn by the stage demo")
    if awaits_fetch(root):
        return Finding("note", f"{root.absolute()} is not fetched yet", "dvc pull fetches it")
    if not root.is_dir():
        remedy = f"set data.root to the folder that holds the images, or to {paths.DEMO}; in a container, mount it"
        return Finding("wrong", f"{root.absolute()} does not exist", remedy)
    files = sum(len(names) for _, _, names in os.walk(root, followlinks=True))
    if files == 0:
        return Finding("wrong", f"{root.absolute()} holds no files", "unpack the images there, or mount them")
    return Finding("ok", f"{files:,} files under {root.absolute()}")


def _weights(params: Params) -> Finding:
    model = params.model
    if model.weights == "none":
        return Finding("ok", "random: model.weights is none")
    if model.weights != "imagenet":
        try:
            weights.of_file(Path(model.weights), model.weights_sha256)
        except UserError as error:
            return Finding("wrong", str(error), "fix model.weights and model.weights_sha256 in params.yaml")
        return Finding("ok", f"{model.weights}, with the SHA-256 of model.weights_sha256")
    students = params.noisy_student.backbone if "noisy_student" in params.methods else "same"
    backbones = dict.fromkeys((model.backbone, *({students} - {"same"})))
    missing = [backbone for backbone in backbones if not weights.location(backbone).is_file()]
    if missing:
        remedy = "training downloads them; without a network use model.backbone=efficientnet-lite0, or in a container "
        remedy += f"docker build --build-arg WEIGHTS={missing[0]} …"
        return Finding("note", f"those of {' and '.join(missing)} are not on this machine", remedy)
    return Finding("ok", " and ".join(f"{weights.location(backbone).name} of {backbone}" for backbone in backbones))


def _remote() -> Finding:
    try:
        name = dvc_settings()["core"].get("remote") if Path(".dvc").is_dir() else None
    except UserError as error:
        return Finding("wrong", str(error))
    if not name:
        return Finding("ok", "none: data and runs stay on this machine")
    # A process of its own, because a remote that does not answer must not hold this one.
    ask = "from dvc.repo import Repo; remote = Repo().cloud.get_remote(); remote.fs.ls(remote.fs.parent(remote.path))"
    command = [sys.executable, "-c", ask]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
        problem = (answer.stderr.strip().splitlines() or [""])[-1] if answer.returncode else ""
    except subprocess.TimeoutExpired:
        problem = f"no answer within {PATIENCE} seconds"
    if problem:
        remedy = "check address and credentials with: dvc remote list; dvc remote modify --local …"
        return Finding("wrong", f"{name} does not answer: {problem}", remedy)
    return Finding("ok", f"{name} answers")
