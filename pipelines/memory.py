"""How much memory can be had now."""

from __future__ import annotations

import ctypes
import gc
from contextlib import suppress
from pathlib import Path

import psutil
import torch

_CGROUP = Path("/sys/fs/cgroup")


def give_back() -> None:
    """Frees what nobody uses and hands it back to the system or the GPU.

    Models with hooks hold themselves, so that it takes the collector; and the C library keeps
    what was freed until it is told otherwise (Linux).
    """
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def free_bytes(device: torch.device) -> int:
    """Memory that can be had on a device now."""
    if device.type == "cuda":
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(torch.cuda.mem_get_info(device)[0] + unused)
    free = int(psutil.virtual_memory().available)
    try:  # a container may have less than its machine
        limit = int((_CGROUP / "memory.max").read_text())
        used = int((_CGROUP / "memory.current").read_text())
        cached = (_CGROUP / "memory.stat").read_text().split("inactive_file ")[1].split()[0]
        return min(free, limit - used + int(cached))
    except (OSError, ValueError, IndexError):
        return free
