"""Which writes share a commit."""

from concurrent.futures import Future

import pytest

from ecr_emulator.metadata.sqlite import _batches, _Job


@pytest.mark.parametrize(
    ("alone", "sizes"),
    [
        ([], []),
        ([False, False, False], [3]),
        ([True], [1]),
        ([False, True, False, False], [1, 1, 2]),
        ([True, True, False], [1, 1, 1]),
    ],
)
def test_a_job_that_is_to_be_alone_splits_the_batch(alone: list[bool], sizes: list[int]) -> None:
    jobs = [_Job(Future(), lambda _tx: None, is_alone) for is_alone in alone]
    batches = [batch for batch in _batches(jobs) if batch]
    assert [len(batch) for batch in batches] == sizes
    assert [job for batch in batches for job in batch] == jobs
    assert all(len(batch) == 1 for batch in batches if any(job.alone for job in batch))
