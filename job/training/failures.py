"""Errors of a machine that is too small, as sentences with a remedy."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from job.errors import UserError


@contextmanager
def explained() -> Iterator[None]:
    """Run a block; where memory or disk space run out, the error names what to change.

    Raises:
        UserError: in place of the error of torch, Python or the system.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise UserError(
            f"no space left on the disk ({error.filename or 'writing a state or a run'}): free some and start again; "
            "what was saved before is kept"
        ) from None
    except (MemoryError, RuntimeError) as error:
        if not _out_of_memory(error):
            raise
        raise UserError(
            "out of memory: lower train.batch_size or data.pixels, take a smaller model.backbone, run fewer folds at "
            "a time (JOBS=1), or, on a CPU, use machine.keep_memory=false"
        ) from None


def _out_of_memory(error: Exception) -> bool:
    # torch has a class for the memory of a GPU, and for that of the machine a RuntimeError of this text.
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in str(error)
