"""Whether the server answers while the model works, and whether its memory stays as it is.

    python -m benchmarks.server latency --clients 50 --pictures 4
    python -m benchmarks.server memory --jobs 500

``latency`` runs ``studio web`` as a process of its own and polls a job's status from many clients
while it is drawn. ``memory`` sends jobs whose pictures are painted, not drawn, over HTTP and reads
the resident memory of server and client together.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx
import psutil

from tests.studio.jobs.stub import stub_service
from tests.webui.serving import serving

PORT = 7863


async def latencies(clients: int, pictures: int, steps: int, pause_s: float) -> list[float]:
    """Seconds of each status request while a job of mini is drawn.

    Args:
        clients: how many poll at a time.
        pictures: how many the job has.
        steps: of each.
        pause_s: between two requests of one client.
    """
    base = f"http://127.0.0.1:{PORT}"
    limits = httpx.Limits(max_connections=clients + 1, max_keepalive_connections=clients + 1)
    async with httpx.AsyncClient(base_url=base, timeout=60, limits=limits) as http:
        await _until_ready(http)
        body = {"prompt": "a red apple", "count": pictures, "steps": steps, "seed": 1}
        id = (await http.post("/api/v1/jobs", json=body)).json()["id"]
        while (await http.get(f"/api/v1/jobs/{id}")).json()["step"] == 0:
            await asyncio.sleep(0.2)  # the weights are loading
        taken: list[float] = []
        over = asyncio.Event()

        async def poll(number: int) -> None:
            await asyncio.sleep(pause_s * number / clients)
            while not over.is_set():
                began = time.perf_counter()
                state = (await http.get(f"/api/v1/jobs/{id}")).json()
                taken.append(time.perf_counter() - began)
                if state["status"] not in ("queued", "running"):
                    over.set()
                await asyncio.sleep(pause_s)

        await asyncio.gather(*(poll(number) for number in range(clients)))
        return taken


async def _until_ready(http: httpx.AsyncClient) -> None:
    while True:
        try:
            if (await http.get("/readyz")).status_code == 200:
                return
        except httpx.TransportError:
            await asyncio.sleep(0.2)


def memory(jobs: int, folder: Path) -> list[tuple[int, float]]:
    """Resident MiB after so many jobs, ten times on the way."""
    process, found = psutil.Process(), []
    with (
        serving(stub_service(folder, queue_size=jobs)) as port,
        httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as http,
    ):
        for number in range(1, jobs + 1):
            body = {"prompt": f"job {number}", "width": 512, "height": 512, "steps": 5}
            id = http.post("/api/v1/jobs", json=body).json()["id"]
            http.get(f"/api/v1/jobs/{id}/events")  # until its end
            http.get(f"/api/v1/jobs/{id}/pictures/0").raise_for_status()
            if number % (jobs // 10) == 0:
                gc.collect()
                found.append((number, process.memory_info().rss / 2**20))
    return found


def main() -> None:
    """Prints what was measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("latency", "memory"))
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--pictures", type=int, default=4)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--pause", type=float, default=1.0, help="seconds between two requests")
    parser.add_argument("--jobs", type=int, default=500)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="studio-server-") as folder:
        if options.what == "memory":
            for number, size in memory(options.jobs, Path(folder)):
                print(f"{number} jobs: {size:.1f} MiB")
            return
        command = [sys.executable, "-m", "studio.cli.main", "web", "--port", str(PORT)]
        began = time.perf_counter()
        server = subprocess.Popen([*command, "--folder", folder, "--log-level", "warning"])
        try:
            ready_s = asyncio.run(_ready_after(began))
            print(f"ready after {ready_s:.1f} s")
            taken = asyncio.run(
                latencies(options.clients, options.pictures, options.steps, options.pause)
            )
        finally:
            server.terminate()
            server.wait(60)
        cuts = statistics.quantiles(taken, n=100)
        median, p95, worst = (round(1000 * s) for s in (cuts[49], cuts[94], max(taken)))
        print(f"{len(taken)} requests of {options.clients} clients while drawing:")
        print(f"median {median} ms, p95 {p95} ms, worst {worst} ms")


async def _ready_after(began: float) -> float:
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{PORT}", timeout=60) as http:
        await _until_ready(http)
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
