import re

import pytest
import torch

from job.errors import UserError
from job.training import failures


def test_the_memory_of_the_machine_is_named_with_what_to_change():
    # The text of torch itself, for more than any machine has.
    with pytest.raises(UserError, match=r"out of memory: lower train\.batch_size"), failures.explained():
        torch.empty(2**50, dtype=torch.uint8)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), "out of memory: lower"),
        (OSError(28, "No space left on device", "x.state"), "no space left on the disk (x.state): free some"),
    ],
)
def test_what_ran_out_is_named(error, expected):
    with pytest.raises(UserError, match=re.escape(expected)), failures.explained():
        raise error


@pytest.mark.parametrize("error", [RuntimeError("shapes differ"), OSError(13, "denied")])
def test_other_errors_stay_what_they_are(error):
    with pytest.raises(type(error), match=r"shapes differ|denied"), failures.explained():
        raise error
