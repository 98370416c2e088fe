"""Memory of the machine, as the doors tell it."""

from __future__ import annotations

import sys
from typing import Any

import psutil


def memory() -> dict[str, Any]:
    """Bytes free, used and in all, of the machine and of the GPU in use."""
    ram = psutil.virtual_memory()
    return {
        "ram": {"free": ram.available, "used": ram.total - ram.available, "total": ram.total},
        "cuda": _cuda(),
    }


def _cuda() -> dict[str, Any]:
    torch = sys.modules.get("torch")  # whoever draws has loaded it; asking must not
    if torch is None or not torch.cuda.is_available():
        return {"error": "unavailable"}
    free, total = torch.cuda.mem_get_info()
    statistics = torch.cuda.memory_stats()

    def pair(name: str) -> dict[str, int]:
        return {kind: statistics.get(f"{name}.all.{kind}", 0) for kind in ("current", "peak")}

    return {
        "system": {"free": free, "used": total - free, "total": total},
        "active": pair("active_bytes"),
        "allocated": pair("allocated_bytes"),
        "reserved": pair("reserved_bytes"),
        "inactive": pair("inactive_split_bytes"),
        "events": {
            "retries": statistics.get("num_alloc_retries", 0),
            "oom": statistics.get("num_ooms", 0),
        },
    }
