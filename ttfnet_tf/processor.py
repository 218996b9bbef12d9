"""What the processor of this machine has."""

from __future__ import annotations

from pathlib import Path

BFLOAT16_UNITS = ("amx_bf16", "avx512_bf16")  # as the Linux kernel names them, the faster first


def bfloat16_unit(cpuinfo: str | Path = "/proc/cpuinfo") -> str | None:
    """The first of `BFLOAT16_UNITS` that the processor has, None where there is none or the system does not tell."""
    try:
        lines = Path(cpuinfo).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    flags = next((line.partition(":")[2].split() for line in lines if line.startswith("flags")), [])
    return next((unit for unit in BFLOAT16_UNITS if unit in flags), None)
