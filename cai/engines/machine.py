"""What the machine has for models: the memory of its GPUs, or that of the computer itself."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from cai.engines.model_files import cpu_has_bfloat16, has_gpu

GIB = 1 << 30
_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


@dataclass(frozen=True, slots=True)
class Machine:
    """``memory``: bytes of one device; a training uses one. ``bfloat16``: whether it multiplies in it."""

    kind: Literal["cpu", "cuda"]
    memory: int
    count: int = 1
    bfloat16: bool = True
    name: str = ""

    def __str__(self) -> str:
        what = self.name or ("GPU" if self.kind == "cuda" else "RAM")
        each = f"{self.count} × " if self.count > 1 else ""
        return (
            f"{each}{self.memory / GIB:.1f} GiB ({what})"
            if self.kind == "cuda"
            else (f"{self.memory / GIB:.1f} GiB of {what}")
        )


def this_machine() -> Machine:
    """The first GPU's memory where there is one, else the RAM, or what of it the process's group may have."""
    if has_gpu():
        import torch

        if torch.cuda.is_available():
            first = torch.cuda.get_device_properties(0)
            return Machine("cuda", int(first.total_memory), torch.cuda.device_count(), name=first.name)
    return Machine("cpu", _ram(), bfloat16=cpu_has_bfloat16())


def _ram() -> int:
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    for name in _LIMITS:
        try:
            limit = Path(name).read_text(encoding="ascii").strip()
        except OSError:
            continue
        if limit.isdigit():
            total = min(total, int(limit))
    return total
