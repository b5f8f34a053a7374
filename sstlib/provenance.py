"""Where a result comes from: commit, versions, machine and data of this moment, for records and weights."""

import os
import platform
import time
from typing import Any

import torch

from sstlib import __version__, paths


def provenance(data: str) -> dict[str, Any]:
    """Commit, versions and machine of this process; `data` says which data was used."""
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"CPU, {torch.get_num_threads()} thread(s)"
    return {"commit": paths.commit(), "sstlib": __version__, "torch": torch.__version__, "python": platform.python_version(),
            "device": device, "data": data, "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}


def processor() -> dict[str, Any]:
    """The processor and how busy it is at this moment: a load above the cores means that other programs shared the machine."""
    name = platform.processor() or platform.machine()
    if os.path.exists("/proc/cpuinfo"):
        with open("/proc/cpuinfo") as lines:
            name = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), name)
    return {"processor": name, "cores": os.cpu_count(), "load": os.getloadavg()[0]}
