"""Set parameters for one run, as `dvc exp run -S` does: `override.py train.epochs=50 data.pixels=450`."""

import sys

from dvc.exceptions import DvcException
from dvc.utils.hydra import apply_overrides

try:
    apply_overrides("params.yaml", sys.argv[1:])
except DvcException as error:
    sys.exit(f"error: {error.__cause__ or error}")
