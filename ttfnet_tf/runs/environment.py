"""What a run was started with: command, commit, versions and devices."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

_PACKAGES = ("tensorflow", "keras", "tf-keras", "numpy", "opencv-python-headless", "pycocotools", "ttfnet_tf")


def environment() -> dict[str, Any]:
    """Versions, devices, command and commit of this process."""
    import tensorflow as tf

    versions: dict[str, str | None] = {}
    for package in _PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = None
    return {
        "command": sys.argv,
        "commit": _commit(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
        "devices": [f"{device.name} {_device_name(tf, device)}" for device in tf.config.list_physical_devices()],
        "packages": versions,
    }


def _device_name(tf, device) -> str:
    return tf.config.experimental.get_device_details(device).get("device_name", device.device_type)


def _commit() -> str | None:
    """Commit of the clone that this package runs from; None outside a clone."""
    here = Path(__file__).resolve().parent
    try:
        done = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=here, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None
