"""The environments of the systems: made once from the package index, one on top of the other where they share packages."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

_MARKER = "ledger.json"
# A driver that tries to download something fails at once: no server listens there.
_NOWHERE = "http://127.0.0.1:9"


def python_of(layers: Sequence[tuple[str, Sequence[str]]], folder: Path) -> Path:
    """The Python of an environment, which is made if it is not there; this one without layers.

    Args:
        layers: (name, packages) of each, the lowest first; an environment sees the packages of those before it.
        folder: of all environments.
    """
    python, below = Path(sys.executable), []
    for name, packages in layers:
        home = folder / name
        python = home / ("Scripts" if os.name == "nt" else "bin") / "python"
        wanted = {"packages": [*below, *packages]}
        marker = home / _MARKER
        if not (marker.exists() and json.loads(marker.read_text(encoding="utf-8")) == wanted):
            print(f"{home}: installs {', '.join(packages)}", flush=True)
            subprocess.run([sys.executable, "-m", "venv", str(home)], check=True)
            sites = [str(_site(folder / other)) for other, _ in layers[: [one for one, _ in layers].index(name)]]
            (_site(home) / "ledger_layers.pth").write_text("".join(f"{site}\n" for site in sites), encoding="utf-8")
            subprocess.run([str(python), "-m", "pip", "install", "--quiet", *packages], check=True)
            marker.write_text(json.dumps(wanted), encoding="utf-8")
        below += packages
    return python


def variables(folder: Path, cores: int) -> dict[str, str]:
    """Environment variables of a driver: no network, and as many threads as cores.

    Args:
        folder: of the run, for files that packages keep in the home folder.
        cores: of the processor.
    """
    proxies = {name: _NOWHERE for scheme in ("http", "https", "all") for name in (f"{scheme}_proxy", f"{scheme}_proxy".upper())}
    threads = {name: str(cores) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
    homes = {name: str(folder / "home") for name in ("TORCH_HOME", "KERAS_HOME", "MPLCONFIGDIR")}
    kept = {name: value for name, value in os.environ.items() if name not in ("no_proxy", "NO_PROXY", "PYTHONPATH")}
    return {**kept, **proxies, **threads, **homes, "PYTHONNOUSERSITE": "1", "WANDB_MODE": "disabled", "HF_HUB_OFFLINE": "1"}


def _site(home: Path) -> Path:
    """Its site-packages."""
    return next(iter(home.glob("lib/python*/site-packages")), home / "Lib" / "site-packages")
