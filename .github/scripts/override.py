"""Set parameters for one run, as `dvc exp run -S` does: `override.py "train.epochs=50 data.root='/data/C-NMC 2019'"`.

The words of the text are split as a shell splits them. A value that Hydra's grammar does not take is taken as a text.
"""

import shlex
import sys

from dvc.exceptions import DvcException
from dvc.utils.hydra import apply_overrides, to_hydra_overrides
from hydra.errors import OverrideParseException
from omegaconf.errors import OmegaConfBaseException

try:
    overrides = shlex.split(sys.argv[1])
except ValueError as error:
    sys.exit(f"error: {sys.argv[1]}: {error}")
for position, override in enumerate(overrides):
    name, equals, value = override.partition("=")
    if not equals:
        sys.exit(f"error: {override!r} is no section.key=value: put quotes around a value with spaces")
    try:
        is_text = to_hydra_overrides([override])[0].is_sweep_override()  # such as a,b
    except OverrideParseException:
        is_text = True
    if is_text:
        overrides[position] = name + "='" + value.replace("'", r"\'") + "'"
try:
    apply_overrides("params.yaml", overrides)
except (DvcException, OmegaConfBaseException) as error:
    sys.exit(f"error: {error.__cause__ or error}")
