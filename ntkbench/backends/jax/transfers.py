"""From numpy arrays to arrays on the device, and back."""

import jax
import numpy as np
from jax import Array

from ntkbench.backends.jax.blocks import Block
from ntkbench.backends.jax.network import Theta
from ntkbench.networks import Parameters


class Transfers:
    """To one device in one precision, and back."""

    def __init__(self, device: jax.Device, dtype: np.dtype):
        self._device, self.dtype = device, dtype

    def put(self, value: np.ndarray | float) -> Array:
        """For reading alone: on a CPU the array shares the caller's memory."""
        array: Array = jax.device_put(np.asarray(value, self.dtype), self._device)
        return array

    def own(self, value: np.ndarray) -> Array:
        """A copy, which may be overwritten."""
        return self.put(np.array(value, self.dtype))

    def parameters(self, theta: Parameters, block: Block) -> Theta:
        """Those of a block of seeds, for reading alone, in one transfer."""
        found: Theta = jax.device_put({name: np.asarray(block.cut(a), self.dtype) for name, a in theta.items()}, self._device)
        return found

    def own_parameters(self, theta: Parameters, block: Block) -> Theta:
        """Those of a block of seeds, which may be overwritten."""
        return {name: self.own(block.cut(array)) for name, array in theta.items()}

    def places(self, block: Block, total: int) -> Array:
        """Where the block's entries stand among all."""
        found: Array = jax.device_put(block.cut(np.arange(total)), self._device)
        return found

    def get(self, value: Array | np.ndarray) -> np.ndarray:
        """On the host; RuntimeError if it was computed in another precision."""
        if value.dtype != self.dtype:
            raise RuntimeError(
                f"jax computed in {value.dtype} where {self.dtype} was asked for: jax_enable_x64 was switched off"
            )
        return np.asarray(value)

    def keep(self, found: np.ndarray, block: Block, values: Array | np.ndarray) -> None:
        """Write a block's values, less those that fill it up, to their places in `found`."""
        found[block.kept] = self.get(values)[: len(block)]
