import pytest
import torch

from job.errors import UserError
from job.training.stop import memory_explained


def test_the_memory_of_the_machine_is_named_with_what_to_change():
    # The text of torch itself, for more than any machine has.
    with pytest.raises(UserError, match=r"out of memory: lower train\.batch_size"), memory_explained():
        torch.empty(2**50, dtype=torch.uint8)


def test_the_memory_of_a_gpu_is_named_too():
    with pytest.raises(UserError, match="out of memory: lower"), memory_explained():
        raise torch.OutOfMemoryError("CUDA out of memory")


@pytest.mark.parametrize("error", [RuntimeError("shapes differ"), OSError(13, "denied")])
def test_other_errors_stay_what_they_are(error):
    with pytest.raises(type(error), match=r"shapes differ|denied"), memory_explained():
        raise error
