"""A server that is killed or stopped loses no job and draws nothing twice."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from studio.metadata import read_recipe

HOUSE = Path(__file__).parents[2]
LONG = 60.0


class Process:
    """A server process and a client of it."""

    def __init__(self, folder: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.webui.stub_server", str(folder)],
            cwd=HOUSE,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout
        port = self.process.stdout.readline().strip()
        self.http = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=LONG)

    def say(self, line: str) -> None:
        assert self.process.stdin
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()

    def submit(self, **fields: object) -> str:
        answer = self.http.post("/api/v1/jobs", json=fields)
        assert answer.status_code == 202
        return str(answer.json()["id"])

    def until(self, id: str, reached: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Follows a job until it is as wanted."""
        with self.http.stream("GET", f"/api/v1/jobs/{id}/events") as events:
            for line in events.iter_lines():
                if line.startswith("data: ") and reached(job := json.loads(line[6:])):
                    return dict(job)
        raise AssertionError(f"the job {id} never got there")

    def end(self, sig: signal.Signals) -> tuple[int, str]:
        self.process.send_signal(sig)
        _, log = self.process.communicate(timeout=LONG)
        return self.process.returncode, log


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[], Process]]:
    """Starts servers on one folder."""
    made: list[Process] = []

    def begin() -> Process:
        made.append(Process(tmp_path))
        return made[-1]

    yield begin
    for server in made:
        server.http.close()
        server.process.kill()
        server.process.communicate()


def test_a_killed_server_takes_its_jobs_up_again(
    start: Callable[[], Process], tmp_path: Path
) -> None:
    first = start()
    running = first.submit(prompt="a cat", steps=2, count=3, seed=1)
    waiting = first.submit(prompt="a dog", steps=1, seed=9)
    first.say("3")
    first.until(running, lambda job: len(job["pictures"]) == 1 and job["step"] == 1)
    (kept,) = (tmp_path / "pictures" / running).glob("*.png")
    before = kept.stat()
    first.end(signal.SIGKILL)

    second = start()
    second.say("open")
    job = second.until(running, lambda job: job["status"] == "done")
    second.until(waiting, lambda job: job["status"] == "done")
    assert len(job["pictures"]) == 3
    after = kept.stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    files = sorted((tmp_path / "pictures" / running).iterdir())
    assert [read_recipe(path).request.seed for path in files] == [1, 2, 3]
    history = second.http.get("/api/v1/jobs").json()["jobs"]
    assert [job["id"] for job in history] == [waiting, running]


def test_a_stopped_server_finishes_the_picture_in_hand(start: Callable[[], Process]) -> None:
    first = start()
    id = first.submit(prompt="a cat", steps=2, count=2, seed=1)
    first.say("1")
    first.until(id, lambda job: job["step"] == 1)
    first.process.send_signal(signal.SIGTERM)
    assert first.process.stderr
    for line in first.process.stderr:
        if json.loads(line)["message"] == "stopping":
            break
    first.say("1")
    first.process.communicate(timeout=LONG)
    assert first.process.returncode == 0

    second = start()
    job = second.until(id, lambda _: True)
    assert len(job["pictures"]) == 1
    second.say("open")
    assert second.until(id, lambda job: job["status"] == "done")["progress"] == 1
    code, log = second.end(signal.SIGINT)
    assert code == 0
    assert "Traceback" not in log


def test_logs_are_json_lines_without_prompts(start: Callable[[], Process]) -> None:
    server = start()
    server.say("open")
    id = server.submit(prompt="a secret", steps=1)
    server.until(id, lambda job: job["status"] == "done")
    _, log = server.end(signal.SIGTERM)
    lines = [json.loads(line) for line in log.splitlines()]
    answered = [line for line in lines if line["message"] == "answered"]
    assert {"method": "POST", "path": "/api/v1/jobs", "status": 202}.items() <= answered[0].items()
    assert {line["job"] for line in lines if line["message"] == "drawing"} == {id}
    assert "a secret" not in log
