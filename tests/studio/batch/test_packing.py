from __future__ import annotations

from studio.batch.packing import PackSize, Todo
from studio.pipelines.batching import Shared, shared_key
from tests.studio.batch.stub import job, jobs


def test_what_can_share_a_call_is_taken_together_and_nothing_else() -> None:
    wanted = [
        job(1),
        job(2, steps=9),
        job(3),
        job(4, model="other"),
        job(5, width=128),
        job(6, negative_prompt="fog"),
    ]
    todo = Todo(wanted)
    packs = []
    while todo:
        packs.append(todo.take(lambda _: 8))
    assert [[job.index for job in pack] for pack in packs] == [[1, 3, 6], [2], [5], [4]]
    for pack in packs:
        Shared.of([job.request for job in pack])
    assert len({shared_key(pack[0].request) for pack in packs}) == len(packs)


def test_one_by_one_is_the_order_of_the_file() -> None:
    todo = Todo(jobs(3))
    assert [todo.take(lambda _: 1)[0].index for _ in range(3)] == [1, 2, 3]


def test_a_pack_grows_to_what_the_memory_holds_and_halves_when_it_overflows() -> None:
    size = PackSize(usual=8, most=64)
    assert size.next(512 * 512, free=10**10) == 8
    size.drew(512 * 512, count=8, taken=8 * 10**8)
    assert size.next(512 * 512, free=5 * 10**9) == 40
    assert size.next(512 * 512, free=10**12) == 64
    assert size.next(1024 * 1024, free=10**10) == 8
    size.overflowed(512 * 512, count=60)
    assert size.next(512 * 512, free=10**10) == 30
    assert size.next(512 * 512, free=0) == 1
