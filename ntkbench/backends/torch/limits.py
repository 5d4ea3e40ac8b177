"""Tiles of the limiting kernels on torch tensors."""

from collections.abc import Callable

import numpy as np
import torch

from ntkbench.limits import Limit, Run

Tensor = torch.Tensor


def runner(dtype: torch.dtype, device: str) -> Run:
    """Runs functions of `ntkbench.limits` on tensors; arrays that are of the dtype and on the device already are shared."""

    def run(function: Callable[..., tuple[Tensor, ...]], limit: Limit, *arrays: np.ndarray) -> tuple[np.ndarray, ...]:
        found = function(limit, *(torch.as_tensor(array, dtype=dtype, device=device) for array in arrays))
        return tuple(part.cpu().numpy() for part in found)

    return run
