"""From numpy arrays to tensors on the device, and back."""

from collections.abc import Mapping, Sequence
from typing import TypeVar

import numpy as np
import torch

from ntkbench.backends.torch.network import Tensor, Tensors
from ntkbench.networks import Network, Parameters

Name = TypeVar("Name")


class Transfers:
    """To one device in one precision, and back."""

    def __init__(self, device: str, dtype: torch.dtype):
        self._device, self._dtype = device, dtype

    def own(self, array: np.ndarray) -> Tensor:
        """A copy, which may be overwritten."""
        return torch.tensor(np.ascontiguousarray(array, dtype=np.float64), dtype=self._dtype, device=self._device)

    def put(self, array: np.ndarray) -> Tensor:
        """For reading alone: where nothing has to be converted, the tensor is the array's own memory."""
        if array.dtype not in (np.float64, np.float32) or not array.flags.writeable:
            return self.own(array)
        return torch.from_numpy(np.ascontiguousarray(array)).to(self._device, self._dtype)

    def parameters(self, theta: Parameters, block: slice) -> Tensors:
        """Those of a block of seeds, seeds and copies in one axis, for reading alone."""
        return {name: self.put(array[block]).flatten(0, 1) for name, array in theta.items()}

    def points(self, net: Network, x: np.ndarray, seeds: int, block: slice) -> Tensor:
        """Inputs of a block of seeds, (B, n, d), for reading alone; points that all seeds share are not copied."""
        if x.ndim == 2:
            return self.put(x).expand(len(range(*block.indices(seeds))) * net.copies, -1, -1)
        points = self.put(x[block])
        return points if net.copies == 1 else points.repeat_interleave(net.copies, dim=0)

    @staticmethod
    def get(tensor: Tensor) -> np.ndarray:
        """On the host."""
        return tensor.contiguous().cpu().numpy()


def joined(blocks: Sequence[np.ndarray]) -> np.ndarray:
    """Along the seeds; a single block is not copied."""
    return blocks[0] if len(blocks) == 1 else np.concatenate(blocks)


def joined_by_name(blocks: Sequence[Mapping[Name, np.ndarray]]) -> dict[Name, np.ndarray]:
    """As `joined`, for each array of the blocks."""
    return {name: joined([block[name] for block in blocks]) for name in blocks[0]}
