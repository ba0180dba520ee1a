"""Training and prediction in the published style, as a side to measure against.

Files decoded every epoch, whole images, NCHW float32, efficientnet-pytorch as it comes, torch's defaults.
"""

import time
from collections.abc import Sequence
from pathlib import Path

import torch
from efficientnet_pytorch import EfficientNet
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

CPU = torch.device("cpu")
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Files(Dataset[tuple[torch.Tensor, int]]):
    """Image files, decoded each time they are asked for."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self.paths = paths
        self.transform = transforms.Compose([transforms.ToTensor(), transforms.Normalize(MEAN, STD)])

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, number: int) -> tuple[torch.Tensor, int]:
        return self.transform(Image.open(self.paths[number]).convert("RGB")), number % 2


def network() -> EfficientNet:
    """B0 with two classes."""
    torch.manual_seed(0)
    return EfficientNet.from_name("efficientnet-b0", num_classes=2)


class Training:
    """One epoch over the files, which are one batch, per call."""

    def __init__(self, paths: Sequence[Path], device: torch.device = CPU) -> None:
        self.loader = DataLoader(Files(paths), batch_size=15, shuffle=True)
        self.device = device
        self.network = network().to(device)
        self.optimiser = torch.optim.SGD(self.network.parameters(), lr=0.001, momentum=0.9)

    def __call__(self) -> float:
        """Seconds of an epoch."""
        started = time.perf_counter()
        self.network.train()
        for images, labels in self.loader:
            self.optimiser.zero_grad()
            loss = torch.nn.functional.cross_entropy(self.network(images.to(self.device)), labels.to(self.device))
            loss.backward()
            self.optimiser.step()
            loss.item()
        return time.perf_counter() - started


class Prediction:
    """Five networks, one after the other, each over the files."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self.loader = DataLoader(Files(paths), batch_size=15)
        self.networks = [network().eval() for _ in range(5)]

    def __call__(self) -> float:
        """Seconds of one pass."""
        started = time.perf_counter()
        with torch.no_grad():
            for one in self.networks:
                for images, _ in self.loader:
                    one(images).softmax(1)
        return time.perf_counter() - started
