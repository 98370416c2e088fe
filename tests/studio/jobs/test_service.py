"""The job service: order, ends, owners, limits, restarts."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from studio.errors import JobNotFound, OutputError, QueueFull, RequestError
from studio.jobs.job import Job
from studio.jobs.service import Service
from studio.metadata import read_recipe
from tests.studio.jobs.stub import BREAKS, FAILS, Gate, painted, stub_service

Make = Callable[..., Service]
LONG = 60.0


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """Makes services on one folder; at the end they are stopped."""
    made: list[Service] = []
    gates: list[Gate] = []

    def build(gate: Gate | None = None, *, start: bool = True, **options: Any) -> Service:
        gates.extend([gate] if gate else [])
        service = stub_service(tmp_path, gate, **options)
        made.append(service)
        if start:
            service.start()
        return service

    yield build
    for gate in gates:
        gate.open()
    for service in made:
        service.stop(finish=False)


def ended(service: Service, job: Job, owner: str = "") -> Job:
    while not job.over:
        job = service.wait(job.id, job.version, LONG, owner)
    return job


def at_step(gate: Gate) -> None:
    assert gate.at_step.acquire(timeout=LONG)


def test_a_job_ends_with_its_pictures_on_the_disk(make: Make) -> None:
    service = make()
    job = service.submit({"prompt": "a cat", "count": 2, "seed": 5})
    assert (job.status, job.request.steps, job.request.seed) == ("queued", 3, 5)
    job = ended(service, job)
    assert job.status == "done"
    assert job.progress == 1
    assert [read_recipe(path).request.seed for path in job.pictures] == [5, 6]
    assert job.created <= (job.started or 0) <= (job.ended or 0)
    assert service.job(job.id) == job


def test_jobs_are_drawn_in_order_and_the_model_is_kept(make: Make) -> None:
    seen: list[str] = []
    service = make(seen=seen)
    jobs = [service.submit({"prompt": f"cat {i}", "seed": i}) for i in range(3)]
    for job in jobs:
        ended(service, job)
    assert [line for line in seen if line.startswith("draw")] == [
        f"draw cat {i} {i}" for i in range(3)
    ]


def test_progress_is_told_step_by_step(make: Make) -> None:
    gate = Gate(shut=True)
    service = make(gate)
    job = service.submit({"prompt": "a cat", "steps": 4, "count": 2})
    seen = []
    for step in range(1, 4):
        gate.let()
        while job.step < step:
            job = service.wait(job.id, job.version, LONG)
        seen.append((job.status, job.step, job.total, job.picture, job.progress))
    assert seen == [("running", step, 4, 0, step / 8) for step in (1, 2, 3)]
    assert job.eta_s is not None
    gate.open()
    assert ended(service, job).eta_s is None


def test_a_preview_is_made_only_after_somebody_asked(make: Make) -> None:
    gate = Gate(shut=True)
    service = make(gate)
    job = service.submit({"prompt": "a cat", "steps": 9})
    gate.let()
    while job.step < 1:
        job = service.wait(job.id, job.version, LONG)
    assert service.preview(job.id) is None
    gate.let()
    while job.step < 2:
        job = service.wait(job.id, job.version, LONG)
    preview = service.preview(job.id)
    assert preview is not None
    assert preview.startswith(b"\xff\xd8\xff")
    with pytest.raises(JobNotFound):
        service.preview(job.id, "somebody else")


def test_cancel_keeps_the_pictures_so_far(make: Make) -> None:
    gate = Gate(shut=True)
    service = make(gate)
    job = service.submit({"prompt": "a cat", "steps": 1, "count": 3})
    waiting = service.submit({"prompt": "a dog"})
    gate.let()
    while not job.pictures:
        job = service.wait(job.id, job.version, LONG)
    service.cancel(job.id)
    assert service.cancel(waiting.id).status == "cancelled"
    gate.open()
    job = ended(service, job)
    assert (job.status, len(job.pictures)) == ("cancelled", 1)
    assert service.cancel(job.id) == job


def test_skip_leaves_out_the_picture_in_hand(make: Make) -> None:
    gate = Gate(shut=True)
    service = make(gate)
    job = service.submit({"prompt": "a cat", "steps": 2, "count": 3, "seed": 7})
    at_step(gate)
    service.skip(job.id)
    gate.open()
    job = ended(service, job)
    assert (job.status, job.skipped, job.progress) == ("done", 1, 1)
    assert [read_recipe(path).request.seed for path in job.pictures] == [8, 9]


def test_a_failure_is_told_in_one_line_and_the_next_job_is_drawn(make: Make) -> None:
    service = make()
    failing, breaking, fine = (
        service.submit({"prompt": prompt}) for prompt in (FAILS, BREAKS, "a cat")
    )
    assert ended(service, failing).error == "The brush broke. Valid: another brush."
    broken = ended(service, breaking)
    assert broken.status == "failed"
    assert "\n" not in broken.error
    assert ended(service, fine).status == "done"


def test_jobs_trade_places(make: Make) -> None:
    service = make(start=False)
    one, two, three = (service.submit({"prompt": str(i)}) for i in range(3))
    other = service.submit({"prompt": "other"}, owner="other")
    assert [service.job(job.id).position for job in (one, two, three)] == [0, 1, 2]
    before = service.job(one.id).version
    assert service.move(three.id, 0).position == 0
    assert service.job(one.id).position == 1
    assert service.job(one.id).version != before
    assert service.move(three.id, 99).position == 2
    assert service.job(other.id, "other").position == 3


def test_the_jobs_of_others_are_not_there(make: Make) -> None:
    service = make(start=False)
    job = service.submit({"prompt": "a secret"}, owner="anna")
    assert service.jobs("anna")
    assert service.jobs("ben") == []
    assert service.jobs("") == []
    doors: list[Callable[[str, str], object]] = [
        service.job,
        service.cancel,
        service.skip,
        service.delete,
        service.preview,
        lambda id, owner: service.move(id, 0, owner),
        lambda id, owner: service.favourite(id, True, owner),
        lambda id, owner: service.wait(id, 0, 0, owner),
    ]
    for door in doors:
        with pytest.raises(JobNotFound):
            door(job.id, "ben")
    assert service.job(job.id, "anna").status == "queued"


def test_history_is_searched_filtered_and_marked(make: Make) -> None:
    service = make()
    cat = ended(service, service.submit({"prompt": "a CAT, 100% grey"}))
    dog = ended(service, service.submit({"prompt": "a dog"}))
    assert [job.id for job in service.jobs()] == [dog.id, cat.id]
    assert [job.id for job in service.jobs(text="cat")] == [cat.id]
    assert [job.id for job in service.jobs(text="%")] == [cat.id]
    assert service.jobs(text="_") == []
    assert service.jobs(status="failed") == []
    service.favourite(dog.id, True)
    assert [job.id for job in service.jobs(favourites=True)] == [dog.id]
    assert [job.id for job in service.jobs(limit=1, offset=1)] == [cat.id]
    service.delete(dog.id)
    assert not dog.pictures[0].exists()
    assert [job.id for job in service.jobs()] == [cat.id]


def test_deleting_a_running_job_stops_it(make: Make) -> None:
    gate = Gate(shut=True)
    service = make(gate)
    job = service.submit({"prompt": "a cat"})
    at_step(gate)
    deleting = threading.Thread(target=service.delete, args=(job.id,))
    deleting.start()
    gate.open()
    deleting.join(LONG)
    with pytest.raises(JobNotFound):
        service.job(job.id)


def test_a_full_queue_refuses_and_says_when_to_come_back(make: Make) -> None:
    service = make(start=False, queue_size=2)
    service.submit({"prompt": "one"})
    service.submit({"prompt": "two"})
    with pytest.raises(QueueFull) as caught:
        service.submit({"prompt": "three"})
    assert caught.value.retry_after_s > 0
    assert len(service.jobs()) == 2


@pytest.mark.parametrize(
    "fields",
    [
        {"model": "/etc"},
        {"model": "../mini"},
        {"init_image": "/etc/passwd"},
        {"init_image": "../inputs/x.png"},
        {"init_image": "sha256:../../secret"},
        {"init_image": "sha256:" + "0" * 64},
        {"hires_scale": 2.0, "hires_upscaler": "../secret.pth"},
        {"refiner": "/etc/passwd"},
        {"control": "/etc", "control_image": "sha256:" + "0" * 64},
        {"ip_adapter": "x", "ip_adapter_image": "/etc/passwd"},
        {"steps": 0},
    ],
)
def test_nothing_but_names_and_uploads_is_opened(make: Make, fields: dict[str, Any]) -> None:
    service = make(start=False)
    with pytest.raises(RequestError) as caught:
        service.submit({"prompt": "a cat", **fields})
    assert caught.value.field in fields
    assert service.jobs() == []


def test_an_uploaded_picture_may_be_named(make: Make) -> None:
    service = make()
    reference = service.inputs.add(Image.new("RGB", (64, 64), "red"))
    job = ended(service, service.submit({"prompt": "a cat", "init_image": reference}))
    assert (job.status, job.request.init_image) == ("done", reference)
    with pytest.raises(RequestError, match="not an uploaded picture"):
        service.submit({"prompt": "a cat", "init_image": reference, "mask": "/etc/passwd"})


def test_two_services_do_not_share_a_folder(make: Make, tmp_path: Path) -> None:
    make()
    with pytest.raises(OutputError, match="Another server"):
        stub_service(tmp_path)


def test_stopping_finishes_the_picture_in_hand_and_the_rest_is_drawn_later(make: Make) -> None:
    gate = Gate(shut=True)
    first = make(gate)
    job = first.submit({"prompt": "a cat", "steps": 1, "count": 3, "seed": 1})
    other = first.submit({"prompt": "later", "seed": 9})
    at_step(gate)
    stopping = threading.Thread(target=first.stop)
    stopping.start()
    while first.ready:
        pass
    gate.open()
    stopping.join(LONG)

    seen: list[str] = []
    second = make(seen=seen)
    assert ended(second, second.job(job.id)).status == "done"
    ended(second, second.job(other.id))
    drawn = [line for line in seen if line.startswith("draw")]
    assert drawn == ["draw a cat 2", "draw a cat 3", "draw later 9"]


def test_stopping_at_once_puts_the_picture_in_hand_back(make: Make) -> None:
    gate = Gate(shut=True)
    first = make(gate)
    job = first.submit({"prompt": "a cat", "seed": 1})
    at_step(gate)
    stopping = threading.Thread(target=first.stop, kwargs={"finish": False})
    stopping.start()
    while first.ready:
        pass
    gate.let(2)
    stopping.join(LONG)
    second = make()
    assert ended(second, second.job(job.id)).status == "done"


def test_a_picture_saved_but_not_recorded_before_a_kill_is_kept(make: Make, tmp_path: Path) -> None:
    first = make(start=False)
    job = first.submit({"prompt": "a cat", "count": 2, "seed": 3})
    first._store.begin(job.id)  # what a kill leaves: begun, a file, no record, half a file
    folder = tmp_path / "pictures" / job.id
    saved = painted(job.request.singles()[0]).save(folder, name="00001_{seed}_{prompt}")
    (folder / ".abc.part").write_bytes(b"half")
    first.stop()

    seen: list[str] = []
    second = make(seen=seen)
    job = ended(second, second.job(job.id))
    assert [line for line in seen if line.startswith("draw")] == ["draw a cat 4"]
    assert job.pictures[0] == saved
    assert sorted(path.name for path in folder.iterdir()) == [path.name for path in job.pictures]


def test_a_broken_listener_of_changes_is_told_no_more(make: Make) -> None:
    service = make(start=False)
    told = threading.Event()
    stop = service.listen(told.set)
    service.submit({"prompt": "a cat"})
    assert told.is_set()
    stop()
    told.clear()
    service.submit({"prompt": "a dog"})
    assert not told.is_set()
