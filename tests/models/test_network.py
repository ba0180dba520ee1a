import hashlib

import pytest
import torch
from efficientnet_pytorch import EfficientNet

from job.errors import UserError
from job.models import network, weights


def build(backbone="efficientnet-b0", **changes):
    options = {"classes": 2, "size": 64, "dropout": 0.0, "stochastic_depth": 0.0, "pretrained": False, "seed": 3}
    return network.build(backbone, **options | changes)


@pytest.mark.parametrize("size", [64, 75])
def test_the_quick_network_computes_what_the_library_computes(size):
    """SiLU, matrix products and folded padding change the speed; outputs and gradients stay."""
    quick = build(size=size)
    plain = EfficientNet.from_name(
        "efficientnet-b0", num_classes=2, image_size=size, dropout_rate=0.0, drop_connect_rate=0.0
    )
    plain.load_state_dict(quick.state_dict())
    images = torch.randn(4, 3, size, size, generator=torch.Generator().manual_seed(1))
    quick.eval()
    plain.eval()
    ours, theirs = quick(images.contiguous(memory_format=torch.channels_last)), plain(images)
    assert torch.allclose(ours, theirs, atol=1e-5)
    ours.square().sum().backward()
    theirs.square().sum().backward()
    expected = dict(plain.named_parameters())
    for name, parameter in quick.named_parameters():
        assert torch.allclose(parameter.grad, expected[name].grad, rtol=1e-3, atol=1e-5), name


def test_only_the_classification_layer_of_a_pretrained_network_depends_on_the_seed():
    first, other = (build("efficientnet-lite0", pretrained=True, seed=seed).state_dict() for seed in (1, 2))
    differing = {name for name in first if not torch.equal(first[name], other[name])}
    assert differing == {"_fc.weight", "_fc.bias"}


def test_lite0_recognises_what_imagenet_taught_it():
    """A drawn traffic light is class 920: weights in wrong places or a wrong normalisation would not see it."""
    state = weights.imagenet("efficientnet-lite0")
    net = build("efficientnet-lite0", classes=1000, pretrained=True, size=224)
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
    with pytest.raises(Exception, match=r"[Uu]nsupported|weights_only|Weights only"):
        weights.imagenet("efficientnet-b0")
    assert not (hub / "owned").exists()
