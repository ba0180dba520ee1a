import hashlib
from typing import get_args

import pytest
import torch
import torchvision
from efficientnet_pytorch import EfficientNet
from safetensors.torch import save_file
from torchvision.models import list_models

from job.errors import UserError
from job.models import network, weights
from job.params import Backbone


def build(backbone="efficientnet-b0", **changes):
    options = {"classes": 2, "size": 64, "dropout": 0.0, "stochastic_depth": 0.0, "seed": 3}
    return network.build(backbone, **options | changes)


@pytest.mark.parametrize(("size", "training"), [(64, False), (75, False), (64, True)])
def test_the_network_computes_what_the_library_computes(size, training):
    """SiLU and padding in the convolutions change the speed; outputs and gradients stay."""
    ours = build(size=size)
    plain = EfficientNet.from_name(
        "efficientnet-b0", num_classes=2, image_size=size, dropout_rate=0.0, drop_connect_rate=0.0
    )
    plain.load_state_dict(ours.state_dict())
    # In double precision: statistics of four images magnify the last bits of single precision.
    ours, plain = ours.double().train(training), plain.double().train(training)
    images = torch.randn(4, 3, size, size, generator=torch.Generator().manual_seed(1)).double()
    logits = ours(images.contiguous(memory_format=torch.channels_last)), plain(images)
    assert torch.allclose(*logits, atol=1e-9)
    for output in logits:
        output.square().sum().backward()
    expected = dict(plain.named_parameters())
    for name, parameter in ours.named_parameters():
        assert torch.allclose(parameter.grad, expected[name].grad, rtol=1e-6, atol=1e-9), name
    buffers = dict(plain.named_buffers())
    for name, buffer in ours.named_buffers():
        assert torch.allclose(buffer, buffers[name]), name


def test_only_the_classification_layer_of_a_pretrained_network_depends_on_the_seed():
    first, other = (build("efficientnet-lite0", pretrained="imagenet", seed=seed).state_dict() for seed in (1, 2))
    differing = {name for name in first if not torch.equal(first[name], other[name])}
    assert differing == {"_fc.weight", "_fc.bias"}


def test_lite0_recognises_what_imagenet_taught_it():
    """A drawn traffic light is class 920: weights in wrong places or a wrong normalisation would not see it."""
    state = weights.imagenet("efficientnet-lite0")
    net = build("efficientnet-lite0", classes=1000, pretrained="imagenet", size=224)
    net.load_state_dict({**net.state_dict(), **{key: state[key] for key in ("_fc.weight", "_fc.bias")}})
    net.eval()
    y, x = torch.meshgrid(torch.linspace(-1, 1, 224), torch.linspace(-1, 1, 224), indexing="ij")

    def colour(*rgb):
        return torch.tensor(rgb)[:, None, None]

    picture = torch.where((x.abs() < 0.25) & (y.abs() < 0.7), colour(0.1, 0.1, 0.1), colour(0.5, 0.7, 0.95))
    for height, rgb in ((-0.45, (1.0, 0.1, 0.1)), (0.0, (1.0, 0.8, 0.1)), (0.45, (0.1, 0.9, 0.2))):
        picture = torch.where(x**2 + (y - height) ** 2 < 0.03, colour(*rgb), picture)
    mean, std = network.normalisation("efficientnet-lite0")
    with torch.inference_mode():
        logits = net(((picture - mean[0]) / std[0])[None])
    assert int(logits.argmax()) == 920


def test_normalisation_follows_the_family():
    assert network.normalisation("efficientnet-lite0") == ((127 / 255,) * 3, (128 / 255,) * 3)
    assert network.normalisation("efficientnet-b4")[0] == (0.485, 0.456, 0.406)


def test_global_randomness_is_left_alone():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    build()
    assert torch.equal(torch.rand(3), expected)


@pytest.fixture
def hub(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    return folder


def test_weights_that_cannot_be_had_are_an_error_with_the_alternatives(hub, monkeypatch):
    def offline(*_arguments, **_options):
        raise OSError("no route to host")

    monkeypatch.setattr(torch.hub, "download_url_to_file", offline)
    with pytest.raises(UserError) as caught:
        weights.imagenet("efficientnet-b0")
    for part in ("efficientnet-b0-355c32eb.pth", str(hub), "https://", "efficientnet-lite0", "model.weights=none"):
        assert part in str(caught.value)
    assert list(hub.iterdir()) == []


def test_a_damaged_weights_file_is_refused(hub):
    (hub / "efficientnet-b0-355c32eb.pth").write_bytes(b"not the published file")
    with pytest.raises(UserError, match=r"SHA-256 starts with .* not 355c32eb"):
        weights.imagenet("efficientnet-b0")


def test_a_weights_file_that_would_execute_code_is_not_loaded(hub, monkeypatch):
    class Hostile:
        def __reduce__(self):
            return (open, (str(hub / "owned"), "w"))

    torch.save({"x": Hostile()}, hub / "raw")
    content = (hub / "raw").read_bytes()
    digest = hashlib.sha256(content).hexdigest()[:8]
    (hub / f"efficientnet-b0-{digest}.pth").write_bytes(content)
    monkeypatch.setitem(weights.url_map, "efficientnet-b0", f"https://example.org/efficientnet-b0-{digest}.pth")
    with pytest.raises(UserError, match="not a file of weights alone"):
        weights.imagenet("efficientnet-b0")
    with pytest.raises(UserError, match="nothing in it was executed"):
        weights.of_file(hub / "raw", hashlib.sha256(content).hexdigest())
    assert not (hub / "owned").exists()


@pytest.mark.parametrize("name", ["weights.safetensors", "weights.pth"])
def test_a_weights_file_gives_all_layers_but_the_classification_layer(tmp_path, name):
    path = tmp_path / name
    state = {key: value.contiguous() for key, value in build(seed=1, classes=5).state_dict().items()}
    (save_file if path.suffix == ".safetensors" else torch.save)(state, path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    loaded = build(seed=2, pretrained=str(path), sha256=digest).state_dict()
    fresh = build(seed=2).state_dict()
    for key, value in loaded.items():
        assert torch.equal(value, fresh[key] if key.startswith("_fc.") else state[key]), key
    for wrong, match in (("0" * 64, "it is not the file you meant"), (digest, "do not fit model.backbone")):
        with pytest.raises(UserError, match=match):
            build("efficientnet-b1", pretrained=str(path), sha256=wrong)
    with pytest.raises(UserError, match="does not exist"):
        build(pretrained=str(tmp_path / "none.pth"), sha256=digest)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: {f"module.{name}": value for name, value in state.items()},
        lambda state: {"epoch": 7, "state_dict": state, "optimizer": {}},
        lambda state: {"model": {f"module.network.{name}": value for name, value in state.items()}},
    ],
)
def test_weights_in_a_checkpoint_or_under_a_prefix_are_found(tmp_path, wrap):
    state = build(seed=1).state_dict()
    path = tmp_path / "checkpoint.pth"
    torch.save(wrap(state), path)
    loaded = build(seed=2, pretrained=str(path), sha256=hashlib.sha256(path.read_bytes()).hexdigest()).state_dict()
    assert all(torch.equal(loaded[name], value) for name, value in state.items() if not name.startswith("_fc."))


def test_weights_that_are_no_numbers_are_refused(tmp_path):
    path = tmp_path / "diverged.safetensors"
    save_file({"a": torch.ones(2), "b": torch.tensor([1, torch.inf])}, path)
    with pytest.raises(UserError, match="layer b holds NaN or infinity"):
        weights.of_file(path, hashlib.sha256(path.read_bytes()).hexdigest())


def test_a_file_that_holds_no_weights_is_refused(tmp_path):
    for name, content in (("a.safetensors", b"text"), ("b.pth", b"hello world"), ("c.pth", None), ("d.pth", b"text")):
        path = tmp_path / name
        path.write_bytes(content) if content else torch.save([1, 2], path)
        with pytest.raises(UserError, match=r"not a file of weights alone|holds no state_dict"):
            weights.of_file(path, hashlib.sha256(path.read_bytes()).hexdigest())


def test_torchvision_weights_are_looked_for_under_their_published_name(hub, monkeypatch):
    def offline(*_arguments, **_options):
        raise OSError("no route to host")

    monkeypatch.setattr(torch.hub, "download_url_to_file", offline)
    with pytest.raises(UserError, match=r"resnet50-11ad3fa6\.pth.*https://download\.pytorch\.org"):
        weights.imagenet("torchvision/resnet50")


@pytest.mark.parametrize("number", [0, 1, 2])
def test_published_lite_weights_fit_layer_by_layer(number):
    net = build(f"efficientnet-lite{number}", pretrained="imagenet")
    published = weights.imagenet(f"efficientnet-lite{number}")
    ours = net.state_dict()
    assert torch.equal(ours["_conv_head.weight"], published["_conv_head.weight"])
    assert sum(key.endswith(".weight") for key in ours) == sum(key.endswith(".weight") for key in published)


TORCHVISION = [name for name in get_args(Backbone) if name.startswith("torchvision/")]


@pytest.mark.parametrize("backbone", TORCHVISION)
def test_images_are_normalised_as_the_weights_expect(backbone):
    expected = torchvision.models.get_model_weights(backbone.removeprefix("torchvision/")).DEFAULT.transforms()
    assert network.normalisation(backbone) == (tuple(expected.mean), tuple(expected.std))


def test_the_torchvision_names_are_torchvisions():
    assert {name.removeprefix("torchvision/") for name in TORCHVISION} <= set(list_models(module=torchvision.models))


@pytest.mark.parametrize(
    "backbone",
    [
        pytest.param(name, marks=() if name.endswith(("/resnet18", "_v2_s", "/mobilenet_v2")) else pytest.mark.slow)
        for name in TORCHVISION
    ],
)
def test_a_network_of_torchvision_has_our_classification_layer_and_learns(backbone):
    net = build(backbone, classes=3, dropout=0.25)
    logits = net(torch.randn(2, 3, 64, 64))
    assert logits.shape == (2, 3)
    logits.sum().backward()
    assert all(parameter.grad is not None for parameter in net.parameters())
    assert not any(module.inplace for module in net.modules() if isinstance(module, torch.nn.SiLU))
    assert 0.25 in [module.p for module in net.modules() if isinstance(module, torch.nn.Dropout)]
