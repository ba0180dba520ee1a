"""The command line: `python -m job stage NAME` for DVC, plain verbs for people.

Nothing heavy is imported before a command is chosen, so that `--help` answers at once.
"""

import argparse
import importlib
import os
import sys
from pathlib import Path

from job.errors import UserError

STAGES = ("check", "demo", "prepare", "split", "train", "predict", "ensemble", "evaluate", "explain", "report")


def main(arguments: list[str] | None = None) -> int:
    """Run one command; the exit code is 0, or 2 for what the user can mend."""
    options = vars(_parser().parse_args(arguments))
    module = options.pop("module")
    try:
        print(importlib.import_module(module).run(**options))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; the same command goes on with what is not finished", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader of our output left; nothing more can be said to it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return 0


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

    score = verbs.add_parser("score", help="all evidence about anybody's predictions, from a CSV file")
    score.add_argument("file", type=Path, help="columns image, label, p_<CLASS>…; patient, model, role if known")
    score.add_argument("--out", required=True, type=Path, help="folder for evaluation.json, predictions, differences")
    score.add_argument("--site", action="store_true", dest="site_too", help="pages to look at, in the folder's site/")
    score.add_argument("--synthetic", action="store_true", help="the images are synthetic: say so on every page")
    score.set_defaults(module="job.commands.score")

    site = verbs.add_parser("site", help="write commit, versions and times beside the finished report")
    site.set_defaults(module="job.commands.site")

    serve = verbs.add_parser("serve", help="open the report on this machine")
    serve.add_argument("--port", type=int, default=8000)
    serve.set_defaults(module="job.commands.serve")
    return parser


if __name__ == "__main__":
    sys.exit(main())
