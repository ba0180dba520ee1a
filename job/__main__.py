"""The command line: `python -m job stage NAME` for DVC, plain verbs for people.

Nothing heavy is imported before a command is chosen, so that `--help` answers at once.
"""

import argparse
import ctypes
import importlib
import os
import signal
import sys

from job.errors import StoppedError, UserError

_PR_SET_PDEATHSIG = 1
STAGES = ("check", "demo", "prepare", "split", "train", "predict", "ensemble", "evaluate", "report")


def main(arguments: list[str] | None = None) -> int:
    """Run one command; the exit code is 0, 2 for what the user can mend, or 128 and the signal that stopped it."""
    parent = os.getppid()
    options = vars(_parser().parse_args(arguments))
    module = options.pop("module")
    if module.startswith("job.stages."):
        _end_with_parent(parent)
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
    return 0


def _end_with_parent(parent: int) -> None:
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
    for name in STAGES:
        one = stages.add_parser(name)
        one.set_defaults(module=f"job.stages.{name}")
        if name in ("train", "predict", "ensemble"):
            one.add_argument("--method", required=True, help="a method of params.yaml")
        if name in ("train", "predict"):
            one.add_argument("--fold", required=True, type=int, help="a fold of params.yaml")

    folds = verbs.add_parser("folds", help="train and predict all folds side by side, through DVC")
    folds.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)), help="folds at a time (all cores)")
    folds.set_defaults(module="job.commands.folds")

    site = verbs.add_parser("site", help="write commit, versions and times beside the finished report")
    site.set_defaults(module="job.commands.site")

    serve = verbs.add_parser("serve", help="open the report on this machine")
    serve.add_argument("--port", type=int, default=8000)
    serve.set_defaults(module="job.commands.serve")
    return parser


if __name__ == "__main__":
    sys.exit(main())
