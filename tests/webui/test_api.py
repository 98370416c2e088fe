"""The studio's own API."""

from __future__ import annotations

import json
from typing import Any

from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

from tests.studio.jobs.stub import FAILS, Gate
from tests.webui.conftest import Connect


def followed(client: TestClient, id: str) -> list[dict[str, Any]]:
    """All states of a job until its end."""
    with client.stream("GET", f"/api/v1/jobs/{id}/events") as events:
        assert events.headers["content-type"].startswith("text/event-stream")
        lines = [line for line in events.iter_lines() if line.startswith("data: ")]
    return [json.loads(line.removeprefix("data: ")) for line in lines]


def submitted(client: TestClient, **fields: object) -> str:
    answer = client.post("/api/v1/jobs", json={"prompt": "a cat", **fields})
    assert answer.status_code == 202
    return str(answer.json()["id"])


def test_a_job_is_followed_to_its_pictures(connect: Connect) -> None:
    client = connect()
    states = followed(client, submitted(client, count=2, seed=4))
    assert states[-1]["status"] == "done"
    assert len({state["version"] for state in states}) == len(states)
    assert len(states[-1]["pictures"]) == 2
    picture = client.get(states[-1]["pictures"][1])
    assert picture.headers["content-type"] == "image/png"
    assert picture.headers["content-disposition"].startswith("inline")
    saved = client.get(states[-1]["pictures"][1], params={"download": True})
    assert saved.headers["content-disposition"].startswith("attachment")
    info = client.post("/api/v1/png-info", files={"file": ("x", picture.content)}).json()
    assert info["request"]["seed"] == 5


def test_a_failed_job_says_why(connect: Connect) -> None:
    client = connect()
    last = followed(client, submitted(client, prompt=FAILS))[-1]
    assert (last["status"], last["error"]) == ("failed", "The brush broke. Valid: another brush.")


def test_a_preview_comes_after_it_was_asked_for(connect: Connect) -> None:
    gate = Gate(shut=True)
    client = connect(gate=gate)
    id = submitted(client, steps=5)
    assert gate.at_step.acquire(timeout=60)
    assert client.get(f"/api/v1/jobs/{id}/preview").status_code == 204
    gate.let(1)
    assert gate.at_step.acquire(timeout=60)
    preview = client.get(f"/api/v1/jobs/{id}/preview")
    assert preview.headers["content-type"] == "image/jpeg"
    gate.open()


def test_jobs_are_moved_marked_cancelled_found_and_deleted(connect: Connect) -> None:
    client = connect(start=False)
    one, two = submitted(client, prompt="one"), submitted(client, prompt="two")
    assert client.post(f"/api/v1/jobs/{two}/move", json={"position": 0}).json()["position"] == 0
    assert client.get(f"/api/v1/jobs/{one}").json()["position"] == 1
    assert client.put(f"/api/v1/jobs/{one}/favourite", json={"on": True}).json()["favourite"]
    found = client.get("/api/v1/jobs", params={"favourites": True, "text": "ON"}).json()["jobs"]
    assert [job["id"] for job in found] == [one]
    assert client.post(f"/api/v1/jobs/{one}/cancel").json()["status"] == "cancelled"
    assert client.post(f"/api/v1/jobs/{one}/move", json={"position": 0}).status_code == 409
    assert client.post(f"/api/v1/jobs/{one}/skip").status_code == 409
    assert client.delete(f"/api/v1/jobs/{one}").status_code == 204
    assert client.get(f"/api/v1/jobs/{one}").status_code == 404


def test_what_is_not_there_is_told_in_our_shape(connect: Connect) -> None:
    client = connect(start=False)
    for path in ("/api/v1/jobs/x", "/api/v1/jobs/x/events", "/api/v1/nothing"):
        answer = client.get(path)
        assert answer.status_code == 404
        assert answer.json()["error"]["message"]
    wrong = client.get("/api/v1/jobs", params={"status": "lost"})
    assert (wrong.status_code, wrong.json()["error"]["field"]) == (422, "status")
    wrong = client.post("/api/v1/jobs", json={"prompt": "a cat", "width": 511}).json()["error"]
    assert (wrong["field"], wrong["reason"]) == ("width", "not a multiple of 8")
    assert "504 and 512" in wrong["valid"]


def test_an_upload_is_drawn_from(connect: Connect) -> None:
    client = connect()
    picture = client.get(followed(client, submitted(client))[-1]["pictures"][0]).content
    kept = client.post("/api/v1/inputs", files={"file": ("x.png", picture)}).json()
    assert (kept["width"], kept["height"]) == (64, 64)
    last = followed(client, submitted(client, init_image=kept["reference"], strength=0.5))[-1]
    assert last["status"] == "done"
    assert last["request"]["init_image"] == kept["reference"]


def test_the_catalogue(connect: Connect) -> None:
    client = connect(start=False)
    assert "mini" in [row["name"] for row in client.get("/api/v1/models").json()]
    samplers = {row["name"]: row["schedules"] for row in client.get("/api/v1/samplers").json()}
    schedules = {row["name"] for row in client.get("/api/v1/schedules").json()}
    assert "Karras" in samplers["DPM++ 2M"]
    assert set(samplers["DPM++ 2M"]) <= schedules


def test_the_doors_are_described(connect: Connect) -> None:
    paths = connect(start=False).get("/api/openapi.json").json()["paths"]
    assert {"/api/v1/jobs", "/v1/images/generations", "/sdapi/v1/txt2img"} <= set(paths)
    body = paths["/api/v1/jobs"]["post"]["requestBody"]["content"]["application/json"]
    assert {"prompt", "seed", "steps"} <= set(body["schema"]["properties"])


def test_health_tells_a_drawing_server_from_another(connect: Connect) -> None:
    client = connect(start=False)
    assert client.get("/healthz").status_code == 200
    assert client.get("/readyz").status_code == 503


def test_metrics_count_jobs_and_requests(connect: Connect) -> None:
    client = connect()
    followed(client, submitted(client, count=2))
    assert client.get("/readyz").status_code == 200
    text = client.get("/metrics").text
    samples = {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    assert samples[("studio_jobs", ("status", "done"))] == 1
    assert samples[("studio_pictures",)] == 2
    assert samples[("studio_ready",)] == 1
    posted = (("method", "POST"), ("route", "/api/v1/jobs"), ("status", "202"))
    assert samples[("studio_http_requests_total", *posted)] == 1
