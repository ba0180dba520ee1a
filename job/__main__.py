"""The command line: `python -m job stage NAME` for DVC, plain verbs for people.

Only the standard library is imported before a command is chosen: `--help` answers at once, and `doctor` runs before the
packages are installed.
"""

from __future__ import annotations

import argparse
import atexit
import ctypes
import errno
import importlib.util
import os
import re
import signal
import sys
from pathlib import Path

from job.errors import StoppedError, UserError

_PR_SET_PDEATHSIG = 1
# What a disk or its owner refuses: rights, room, a file in the place of a folder and the other way round.
_OF_THE_MACHINE = {
    errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EISDIR, errno.ENOTDIR, errno.ENAMETOOLONG,
}  # fmt: skip
STAGES = {
    "check": "the parameters and the layout of the data",
    "demo": "draw synthetic cells",
    "prepare": "read the images into one array and an index",
    "split": "who is held out, which fold validates what, whose labels are masked",
    "train": "train one fold of one method",
    "predict": "probabilities of one fold of one method",
    "ensemble": "the votes of one method's folds",
    "evaluate": "every figure, with its interval",
    "explain": "activation maps of the cells that the report shows",
    "report": "the static pages",
}
_LESS_MEMORY = (
    "lower train.batch_size, predict.batch_size or data.pixels, take a smaller model.backbone, run fewer folds at a "
    "time (JOBS=1), or, on a CPU, use machine.keep_memory=false"
)


def main(arguments: list[str] | None = None) -> int:
    """Run one command; the exit code is 0, 2 for what the user can fix, or 128 and the signal that stopped it."""
    parent = os.getppid()
    options = vars(_parser().parse_args(arguments))
    module = options.pop("module")
    if module.startswith("job.stages."):
        end_with_parent(parent)
    try:
        print(importlib.import_module(module).run(**options))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except StoppedError as stopped:
        print(stopped, file=sys.stderr)
        return stopped.exit_code
    except KeyboardInterrupt:
        print("stopped; the same command goes on with what is not finished", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader of our output left; nothing more can be said to it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (OSError, MemoryError, RuntimeError, ModuleNotFoundError) as error:
        if not (sentence := _of_the_machine(error)):
            raise
        print(f"error: {sentence}", file=sys.stderr)
        return 2
    return 0


def _of_the_machine(error: Exception) -> str:
    """What a disk or the want of memory or a package stopped, in a sentence; nothing for a fault, kept as a traceback.

    A file that should be there and is not is such a fault.
    """
    if isinstance(error, ModuleNotFoundError):
        package = (error.name or "").partition(".")[0]
        absent = package not in ("", "job") and importlib.util.find_spec(package) is None
        remedy = f"is not installed for {sys.executable}: `source .venv/bin/activate`, or `make install`"
        return f"{package} {remedy}" if absent else ""
    # torch has no one class for it.
    named = isinstance(error, RuntimeError) and re.search("out of memory|can't allocate|ALLOC_FAILED", str(error))
    if named or isinstance(error, MemoryError) or getattr(error, "errno", None) == errno.ENOMEM:
        return f"out of memory: {_LESS_MEMORY}"
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename is not None else ""
        return f"{where}{error.strerror}: fix that, or name another place" if error.errno in _OF_THE_MACHINE else ""
    return ""


def end_with_parent(parent: int) -> None:
    """Let the end of the process `parent` end this one too, with SIGTERM."""
    # What is finished shall be recorded: a SIGTERM that comes while the interpreter shuts down would make it a failure.
    atexit.register(signal.signal, signal.SIGTERM, signal.SIG_IGN)
    # Killing DVC alone would leave its child running, and writing over outputs that a later run has restored.
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:
            sys.exit(128 + signal.SIGTERM)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m job",
        description="Leukaemia blasts or healthy cells: the stages of the pipeline and what people need.",
    )
    verbs = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    stage = verbs.add_parser("stage", help="run one stage of dvc.yaml (what DVC calls)")
    stages = stage.add_subparsers(title="stages", metavar="NAME", required=True)
    for name, what in STAGES.items():
        one = stages.add_parser(name, help=what)
        one.set_defaults(module=f"job.stages.{name}")
        if name in ("train", "predict", "ensemble"):
            one.add_argument("--method", required=True, help="a method of params.yaml")
        if name in ("train", "predict"):
            one.add_argument("--fold", required=True, type=int, help="a fold of params.yaml")

    def command(name: str, description: str) -> argparse.ArgumentParser:
        one = verbs.add_parser(name, help=description)
        one.set_defaults(module=f"job.commands.{name}")
        return one

    folds = command("folds", "train and predict all folds side by side, through DVC")
    folds.add_argument("--jobs", type=int, help="folds at a time (one per core; where there are GPUs, one per GPU)")
    folds.add_argument("--list", action="store_true", dest="names_only", help="only say their names")

    score = command("score", "all evidence about anybody's predictions, from a CSV file")
    columns = "columns image, label, p_<CLASS>…, or y_true, y_score; patient, model, role if known"
    score.add_argument("file", type=Path, help=columns)
    score.add_argument("--out", required=True, type=Path, help="folder for evaluation.json, predictions, differences")
    score.add_argument("--site", action="store_true", dest="site_too", help="pages to look at, in the folder's site/")
    score.add_argument("--positive", metavar="CLASS", help="the positive class, where names do not tell")
    score.add_argument("--synthetic", action="store_true", help="the images are synthetic: say so on every page")
    score.add_argument("--title", help="heading of the pages (the file's name)")

    compare = command("compare", "what two revisions or experiments differ in, and whether their figures do")
    compare.add_argument("first", metavar="REV_A", help="a Git revision, or an experiment of DVC")
    compare.add_argument("second", metavar="REV_B")
    compare.add_argument("--site", action="store_true", dest="site_too", help="show it among the report's experiments")

    command("site", "write commit, versions and times beside the finished report")

    predict = command("predict", "score new cells with a trained ensemble")
    predict.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="image files, and folders of them")
    predict.add_argument("--out", required=True, type=Path, help="the table that is written, as CSV")
    predict.add_argument("--model", help="method whose ensemble predicts (efficientnet)")
    predict.add_argument("--onnx", type=Path, help="use this file of `export` instead, without torch")
    predict.add_argument("--sha256", metavar="DIGEST", help="what that file must have, as its maker states it")
    called = predict.add_mutually_exclusive_group()
    called.add_argument("--threshold", metavar="CLASS=P", help="call CLASS from this mean probability on (majority)")
    called.add_argument("--operating-point", metavar="NAME", help="a threshold of `evaluate`, such as sensitivity")
    predict.add_argument("--min-agreement", type=float, default=0.0, metavar="SHARE", help="abstain below it (0)")
    predict.add_argument("--maps", type=Path, metavar="FOLDER", help="a new folder of activation maps, one per image")
    predict.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")

    export = command("export", "write a trained ensemble as one ONNX file")
    export.add_argument("--out", required=True, type=Path, help="the file that is written")
    export.add_argument("--model", default="efficientnet", help="method whose ensemble it is (efficientnet)")

    command("doctor", "is this machine ready? what to do where it is not")
    command("card", "write MODEL_CARD.md from the parameters and the headline figures")

    serve = command("serve", "open the report on this machine")
    serve.add_argument("path", nargs="?", type=Path, default=Path("site"), help="folder of a report (site)")
    serve.add_argument("--port", type=int, default=8000)
    return parser


if __name__ == "__main__":
    sys.exit(main())
