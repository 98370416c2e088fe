from __future__ import annotations

from collections.abc import Iterator

import pytest

from studio.batch.engine import Here, Pack, drawn
from studio.batch.job import Job, Outcome
from studio.errors import Cancelled, ModelError, OutOfMemoryError, RequestError, UnavailableError
from tests.studio.batch.stub import jobs


class Failing:
    """Draws nothing of the second job but an error."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def pack_size(self, job: Job) -> int:  # noqa: ARG002
        return 4

    def draw(self, pack: Pack) -> Iterator[Outcome]:
        for job in pack:
            if job.index == 2:
                raise self.error
            yield Outcome(job.id, b"picture")


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (OutOfMemoryError("Memory does not suffice."), "Memory does not suffice."),
        (RequestError("init_image", "x", "is gone"), "init_image = 'x': is gone."),
        (RuntimeError("shapes\n  differ"), "RuntimeError: shapes differ"),
        (MemoryError(), "MemoryError: MemoryError"),
    ],
)
def test_whatever_happens_over_one_job_is_its_own_outcome(error: Exception, says: str) -> None:
    pack = tuple(jobs(4))
    outcomes = {outcome.job: outcome for outcome in drawn(Failing(error), pack)}
    assert [outcomes[job.id].error for job in pack] == ["", says, "", ""]


@pytest.mark.parametrize("kind", [ModelError, UnavailableError, Cancelled])
def test_what_concerns_every_job_ends_the_batch(kind: type[ModelError]) -> None:
    with pytest.raises(kind):
        list(drawn(Failing(kind("No more.")), tuple(jobs(4))))


def test_an_engine_has_room_only_when_nothing_is_in_hand() -> None:
    engine = Here(Failing(RuntimeError()))
    pack = tuple(jobs(2))
    assert engine.room()
    engine.start(pack)
    assert (engine.room(), engine.busy) == (False, True)
    assert [engine.next().job for _ in pack] == [job.id for job in pack]
    assert (engine.room(), engine.busy) == (True, False)
