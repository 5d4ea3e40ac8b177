"""Whether this machine has the device that a study asks for."""

import os
import shutil
import subprocess
from pathlib import Path

from ntkbench.config.problems import ConfigError
from ntkbench.config.study import Study


def gpu_present() -> bool:
    """Whether an NVIDIA GPU answers and is not hidden, found without importing a framework."""
    if os.environ.get("CUDA_VISIBLE_DEVICES", "unset") in ("", "-1"):
        return False
    command = shutil.which("nvidia-smi")
    if command is None:
        return any(Path("/dev").glob("nvidia[0-9]*"))
    return subprocess.run([command, "-L"], capture_output=True, check=False).returncode == 0


def check_device(study: Study) -> None:
    """ConfigError if the study asks for a GPU and there is none."""
    if study.device == "cuda" and not gpu_present():
        raise ConfigError("device = 'cuda': no NVIDIA GPU answers on this machine; set device: cpu (or auto)")
