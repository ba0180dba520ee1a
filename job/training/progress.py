"""What a person sees while a fold trains: a bar on a terminal, one line per epoch there and in a log."""

import time
from contextlib import suppress

from tqdm import tqdm

from job.contracts import paths
from job.files import write_json, write_text
from job.training.history import Epoch


class Progress:
    """Progress of one fold, also kept in `logs/METHOD/fold-K.log` and, once finished, `logs/METHOD/fold-K.json`.

    The folder is ignored by Git and DVC: it holds what the clock and the machine decide.
    """

    def __init__(self, method: str, fold: int, device: str, *, silent: bool = False) -> None:
        """Show a bar; or report nothing where `silent`, as of several processes all but the first do."""
        self._name = f"{method} fold {fold}"
        self._path = paths.log(method, fold)
        self._device = device
        self._silent = silent
        self._started = time.monotonic()
        self._lines: list[str] = []
        self._done = 0
        self._resumed = False
        # disable=None shows the bar on a terminal only: in a log it would be noise.
        self._bar = tqdm(unit="image", disable=silent or None, leave=False)
        if not silent:
            tqdm.write(f"{self._name} on {device}")

    def model(self, name: str, images: int) -> None:
        """Start the bar again for a model whose epochs have this many images together."""
        self._bar.set_description(f"{self._name}  {name}", refresh=False)
        self._bar.initial = 0
        self._bar.reset(images)

    def begun(self) -> None:
        """Remove the log of an earlier training of this fold."""
        if not self._lines and not self._silent:
            self._path.unlink(missing_ok=True)

    def resumed(self, name: str, epochs: int, images: int) -> None:
        """Report the epochs and images that an earlier process trained; they count for the bar, not for its rate."""
        if not self._lines and self._path.exists():
            self._lines = self._path.read_text(encoding="utf-8").splitlines()
        if not self._bar.disable:
            self._bar.initial = images
            self._bar.update(images)
        self._resumed = True
        self._write(f"{self._name}  {name} goes on after {epochs} epochs, {images} images")

    def images(self, count: int) -> None:
        """Count images that were trained on."""
        self._done += count
        self._bar.update(count)

    def epoch(self, epoch: Epoch) -> None:
        """Report one finished epoch."""
        self._write(
            f"{self._name}  {epoch.model} epoch {epoch.epoch}  lr {epoch.learning_rate:g}  "
            f"train {epoch.train_loss:.4f} / {epoch.train_accuracy:.1%}  "
            f"validation {epoch.validation_loss:.4f} / {epoch.validation_accuracy:.1%}  "
            f"{self._done / (time.monotonic() - self._started):.0f} images/s"
        )

    def _write(self, line: str) -> None:
        if self._silent:
            return
        self._lines.append(line)
        with suppress(BrokenPipeError):  # whoever read it ended; if this process is to end too, a signal says so
            tqdm.write(line)
        write_text(self._path, "\n".join(self._lines) + "\n")

    def close(self) -> None:
        """Write the figures of the finished fold."""
        self._bar.close()
        seconds = time.monotonic() - self._started
        figures = {} if self._resumed else {"seconds": round(seconds, 1)}  # those of earlier processes are not known
        figures["images_per_second"] = round(self._done / seconds, 1)
        write_json(self._path.with_suffix(".json"), {**figures, "device": self._device})
