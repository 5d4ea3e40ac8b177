"""The contract in jax: numpy in, blocks through the compiled functions, numpy out."""

import importlib.metadata
import platform
from collections.abc import Callable, Mapping, Sequence
from itertools import product

import jax
import numpy as np
from jax import Array

from ntkbench import limits
from ntkbench.backends import checks
from ntkbench.backends.base import (
    Backend,
    BackendUnavailable,
    Progress,
    Trajectory,
)
from ntkbench.backends.jax import (
    assembly,
    contraction,
    convolutional,
    hierarchy,
    higher_orders,
    linear_algebra,
    network,
    ntk,
    roofline,
    runtime,
    training,
)
from ntkbench.backends.jax.blocks import CACHE_BYTES, IMAGE_BYTES, Block, Stretches, blocks
from ntkbench.backends.jax.limits import runner
from ntkbench.backends.jax.network import Theta
from ntkbench.backends.jax.ntk import Sizes
from ntkbench.integrators import steps_between, tableau
from ntkbench.networks import Convolutional, FullyConnected, Network, Parameters


class JaxBackend(Backend):
    """`Backend` in jax. Threads and GPU flags belong to the process, see `ntkbench.backends.jax.runtime`.

    Construction switches jax to float64 (arrays of a float32 backend are float32 explicitly) and to matrix products of full
    precision, for the whole process.

    Raises:
        ValueError: as `Backend`; also if jax already runs with another number of threads.
        BackendUnavailable: if `cuda` is asked for and jax sees none, or was imported before the flag for deterministic
            GPU operations was set.
    """

    name = "jax"

    def __init__(self, device: str = "auto", precision: str = "float64", threads: int | None = None, memory_bytes: int = 2**31):
        super().__init__(device, precision, threads, memory_bytes)
        self.threads = runtime.start(threads)
        self._device = runtime.find_device(device)
        self.device = "cpu" if self._device.platform == "cpu" else "cuda"
        if self.device == "cuda" and not runtime.flags_in_time:
            raise BackendUnavailable(
                "jax was imported before it was told to use deterministic GPU operations: load this backend first, or set "
                "XLA_FLAGS=--xla_gpu_deterministic_ops=true, or choose device 'cpu'"
            )
        self.dtype = np.dtype(precision)
        runtime.demand_full_precision()
        if self._put(np.ones(1)).dtype != self.dtype or runtime.matmul_precision() != "highest":
            raise BackendUnavailable(f"jax does not hold {precision} at matrix-product precision 'highest'")

    def facts(self) -> Mapping[str, str | int | float | bool]:
        """As the contract says; read from jax, not from what was asked for."""
        return {
            "framework": "jax",
            "version": jax.__version__,
            "jaxlib": importlib.metadata.version("jaxlib"),
            "device": self.device,
            "device_name": self._device.device_kind if self.device == "cuda" else platform.processor() or platform.machine(),
            "precision": self.precision,
            "matmul_precision": runtime.matmul_precision(),
            "tf32": runtime.matmul_precision() != "highest",
            "deterministic": self.device == "cpu" or runtime.flags_in_time,
            "threads": int(self.threads or 0),
        }

    def synchronize(self) -> None:
        """Devices work in order, so that the last thing asked is the last thing done."""
        (self._put(np.zeros(1)) + 1).block_until_ready()

    def forward(self, net: Network, theta: Parameters, x: np.ndarray) -> np.ndarray:
        """In blocks of seeds, and of rows where one seed does not fit the budget."""
        seeds = checks.parameters(net, theta)
        x = checks.inputs(net, seeds, x)
        found = np.empty((seeds, x.shape[-2], net.output_dim), self.dtype)
        for block in self._blocks(
            seeds, ntk.bytes_per_seed(net, x.shape[-2], 0, self.dtype.itemsize, "one"), self._reserved(net)
        ):
            self._keep(found, block, self._outputs(net, self._shared(theta, block), block.cut_seeds(x)))
        return found

    def ntk(
        self, net: Network, theta: Parameters, x1: np.ndarray, x2: np.ndarray | None = None, *, outputs: str = "one"
    ) -> np.ndarray:
        """In blocks of seeds, and in tiles where one seed does not fit the budget."""
        checks.outputs(net, outputs)
        seeds = checks.parameters(net, theta)
        x1, x2 = checks.inputs(net, seeds, x1, "x1"), None if x2 is None else checks.inputs(net, seeds, x2, "x2")
        columns = x1.shape[-2] if x2 is None else x2.shape[-2]
        found = np.empty((seeds, x1.shape[-2], columns, *self._pair_of_outputs(net, outputs)), self.dtype)
        needed = ntk.bytes_per_seed(net, x1.shape[-2], columns, self.dtype.itemsize, outputs)
        for block in self._blocks(seeds, needed, self._reserved(net)):
            second = None if x2 is None else block.cut_seeds(x2)
            self._keep(found, block, self._kernel(net, self._shared(theta, block), block.cut_seeds(x1), second, outputs))
        return found

    def hierarchy(self, net: Network, theta: Parameters, x: np.ndarray, order: int) -> dict[int, np.ndarray]:
        """In blocks of seeds, of points and of directions; ValueError also if one of each exceeds `memory_bytes`."""
        checks.hierarchy(net, order)
        seeds = checks.parameters(net, theta)
        x = checks.inputs(net, seeds, x)
        if order == 2 or not isinstance(net, FullyConnected):
            return {2: self.ntk(net, theta, x)}
        n = x.shape[-2]
        found = {r: np.zeros((seeds,) + (n,) * r, self.dtype) for r in range(2, int(order) + 1)}
        for r in (min(int(order), 4), *range(5, int(order) + 1)):
            size, directions, needed = assembly.block_sizes(net, n, r, self.dtype.itemsize, self.memory_bytes)
            for block in self._blocks(seeds, needed):
                at, points = self._shared(theta, block), self._put(block.cut_seeds(x))
                kernels = {q: kernel[block.kept] for q, kernel in found.items()}
                for first, second in assembly.pairs(n, size, r):
                    rows = self._rows(first, n), None if second is first else self._rows(second, n)
                    if r < 5:
                        made = hierarchy.lower_orders(net, at, points, r, *rows)
                        assembly.assemble(kernels, jax.tree.map(self._get, made), first, second)
                        continue
                    for last in blocks(n, directions):
                        made = higher_orders.higher_order(net, at, points, r, self._rows(last, n), *rows)
                        kept = jax.tree.map(lambda piece, last=last: self._get(piece)[..., : len(last)], made)
                        assembly.assemble_fourth(kernels[r][..., last.kept], kept, first, second)
        return found

    def contracted_hierarchy(
        self, net: FullyConnected, theta: Parameters, rows: np.ndarray, x: np.ndarray, basis: np.ndarray, order: int
    ) -> dict[int, np.ndarray]:
        """One seed and copy after another, in blocks of rows and of points."""
        seeds = checks.parameters(net, theta)
        rows, x = checks.inputs(net, seeds, rows, "rows"), checks.inputs(net, seeds, x)
        basis = checks.contraction(net, seeds, x, basis, order)
        n1, k = rows.shape[-2], basis.shape[-1]
        sizes = contraction.block_sizes(net, n1, x.shape[-2], k, int(order), self.dtype.itemsize, self.memory_bytes)
        found = {r: np.zeros((seeds, n1) + (k,) * (r - 1), self.dtype) for r in range(3, int(order) + 1)}
        for s in range(seeds):
            given = [array[s] if array.ndim == 3 else array for array in (rows, x, basis)]
            for c, weight in enumerate(net.copy_weights):
                one = {name: self._put(array[s, c]) for name, array in theta.items()}
                made = contraction.contracted(net, one, *given, order=int(order), sizes=sizes, put=self._put)
                for r, kernel in zip(found, made, strict=True):
                    found[r][s] += net.mobility ** (r - 1) * weight**r * self._get(kernel)
        return found

    def train(
        self,
        net: Network,
        theta: Parameters,
        x: np.ndarray,
        y: np.ndarray,
        *,
        times: Sequence[float],
        step: float,
        integrator: str,
        observe: Sequence[str] = ("f",),
        x_test: np.ndarray | None = None,
        progress: Progress | None = None,
    ) -> Trajectory:
        """In blocks of seeds, each trained to the end before the next begins."""
        seeds = checks.parameters(net, theta)
        x = checks.inputs(net, seeds, x)
        y, x_test = checks.training(net, seeds, x, y, observe, x_test)
        method, counts = tableau(integrator), steps_between(times, step)
        n = x.shape[-2]
        shapes = {"f": (n, net.output_dim), "K2": (n, n), "movement": (net.depth + 1,)}
        if x_test is not None:
            shapes["f_test"] = (x_test.shape[-2], net.output_dim)
        found = {name: np.empty((seeds, len(counts), *shapes[name]), self.dtype) for name in observe}
        images = training.images(net, self._sizes().images, self.dtype.itemsize)
        seed_blocks = self._blocks(seeds, training.bytes_per_seed(net, n, method, self.dtype.itemsize, images))
        stretches = Stretches(progress, len(seed_blocks) * sum(counts))
        for block in seed_blocks:
            points, test_points = block.cut_seeds(x), None if x_test is None else block.cut_seeds(x_test)
            on_device = self._put(points), self._put(block.cut_seeds(y))
            start, now = self._shared(theta, block), self._parameters(theta, block)
            for i, count in enumerate(counts):
                for steps in stretches.calls(count):
                    now = training.advance(net, method, now, *on_device, self._put(step), steps, images)
                    now["W1"].block_until_ready()
                    stretches.report(steps)
                for name, values in self._observe(observe, net, now, start, points, test_points).items():
                    self._keep(found[name][:, i], block, values)
        return Trajectory(np.asarray(times, dtype=np.float64), **found)

    def _observe(
        self,
        names: Sequence[str],
        net: Network,
        theta: Theta,
        theta0: Theta,
        x: np.ndarray,
        x_test: np.ndarray | None,
    ) -> dict[str, np.ndarray]:
        values: dict[str, np.ndarray] = {}
        if "f" in names:
            values["f"] = self._outputs(net, theta, x)
        if "f_test" in names and x_test is not None:
            values["f_test"] = self._outputs(net, theta, x_test)
        if "K2" in names:
            values["K2"] = self._kernel(net, theta, x, None, "one")
        if "movement" in names:
            values["movement"] = np.asarray(training.movement(theta, theta0))
        return values

    def integrate_hierarchy(
        self,
        kernels: Mapping[int, np.ndarray],
        f0: np.ndarray,
        y: np.ndarray,
        *,
        times: Sequence[float],
        step: float,
        integrator: str,
    ) -> Trajectory:
        """In blocks of seeds."""
        kernels, f0, y = checks.truncated_hierarchy(kernels, f0, y)
        order = max(kernels)
        method, counts = tableau(integrator), steps_between(times, step)
        seeds, n = f0.shape
        f = np.empty((seeds, len(counts), n, 1), self.dtype)
        K2 = np.empty((seeds, len(counts), n, n), self.dtype)
        state_size = sum(n**r for r in range(1, order))
        for block in self._blocks(seeds, self.dtype.itemsize * ((len(method.weights) + 4) * state_size + 2 * n**order)):
            top, targets = self._put(block.cut(kernels[order])), self._put(y if y.ndim == 1 else block.cut(y))
            state = tuple(self._own(block.cut(k)) for k in (f0, *(kernels[r] for r in range(2, order))))
            for i, count in enumerate(counts):
                state = hierarchy.advance(method, state, top, targets, self._put(step), count)
                self._keep(f[:, i, :, 0], block, state[0])
                self._keep(K2[:, i], block, state[1] if order > 2 else top)
        return Trajectory(np.asarray(times, dtype=np.float64), f=f, K2=K2)

    def limiting_kernels(self, net: Network, x1: np.ndarray, x2: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """By `ntkbench.limits`, compiled for a tile."""
        given = [checks.shared_inputs(net, x, name) for name, x in (("x1", x1), ("x2", x2)) if x is not None]
        points = [x.astype(self.dtype) for x in given]
        budget = self.memory_bytes if self.device == "cuda" else min(self.memory_bytes, limits.CACHE_BYTES)
        return limits.kernels(net, *points, memory_bytes=budget, run=runner(self._put, self._get))

    def solve(self, kernel: np.ndarray, rhs: np.ndarray, ridge: float = 0.0) -> np.ndarray:
        """In blocks of the batch."""
        kernel, rhs = checks.linear_system(kernel, rhs, ridge)
        batch, sides = (kernel, rhs) if kernel.ndim == 3 else (kernel[None], rhs[None])
        found = np.empty(sides.shape, self.dtype)
        for block in self._blocks(len(batch), 4 * self.dtype.itemsize * (batch[0].size + sides[0].size)):
            matrices = self._put(block.cut(batch))
            self._keep(found, block, linear_algebra.solve(matrices, self._put(block.cut(sides)), self._put(ridge)))
            failed = ~np.isfinite(found[block.kept]).all(axis=(1, 2))
            if failed.any():
                first = int(failed.argmax())
                smallest = float(linear_algebra.smallest_eigenvalue(matrices[first], self._put(ridge)))
                raise checks.not_positive_definite(block.kept.start + first, len(batch), smallest, ridge)
        return found.reshape(rhs.shape)

    def kernel_descent(
        self, kernel: np.ndarray, residual0: np.ndarray, *, step: float, counts: Sequence[int], kernel_test: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """In blocks of the batch."""
        kernel, residual0, kernel_test = checks.kernel_descent(kernel, residual0, step, counts, kernel_test)
        batch, n, out = residual0.shape
        rows = kernel_test.shape[1]
        train, test = (np.empty((batch, len(counts), k, out), self.dtype) for k in (n, rows))
        needed = self.dtype.itemsize * (4 * n * n + 2 * rows * n + 2 * len(counts) * (n + rows) * out)
        for block in self._blocks(batch, needed):
            arrays = (self._put(block.cut(a)) for a in (kernel, residual0))
            movements = linear_algebra.kernel_descent(
                *arrays, self._put(step), self._put(np.asarray(counts)), self._put(block.cut(kernel_test))
            )
            self._keep(train, block, movements[0])
            self._keep(test, block, movements[1])
        return train, test

    def matrix_products(self, shapes: Sequence[tuple[int, int, int, int]]) -> Callable[[], None]:
        """Compiled before it is returned."""
        return roofline.matrix_products(shapes, self.precision, self._device)

    # Blocks and transfers

    def _blocks(self, total: int, bytes_each: int, reserved: int = 0) -> list[Block]:
        """Equal blocks of a batch axis under the budget less what is reserved, and on a CPU within its cache."""
        budget = self.memory_bytes - reserved
        if self.device == "cpu":
            budget = min(budget, CACHE_BYTES * int(self.threads or 1))
        return blocks(total, budget // max(1, bytes_each))

    def _sizes(self) -> Sizes:
        """Passes over images stay in a CPU's cache; the gradients formed at a time need no such care."""
        images = self.memory_bytes // 8
        return Sizes(
            images if self.device == "cuda" else min(images, IMAGE_BYTES * int(self.threads or 1)), self.memory_bytes // 4
        )

    def _reserved(self, net: Network) -> int:
        return sum(self._sizes()) if isinstance(net, Convolutional) else 0

    def _tiles(self, net: Network, theta: Theta, rows: int, columns: int, outputs: str) -> list[Block]:
        """Equal blocks of points, as large as the budget allows for the kernel of one block with another."""
        room, size = self.memory_bytes - self._reserved(net), max(rows, columns)
        while size > 1 and room < theta["W1"].shape[0] * ntk.bytes_per_seed(
            net, size, min(size, columns), self.dtype.itemsize, outputs
        ):
            size = -(-size // 2)
        return blocks(rows, size)

    def _outputs(self, net: Network, theta: Theta, x: np.ndarray) -> np.ndarray:
        """f, (S, n, O), in blocks of rows."""
        rows, seeds = x.shape[-2], theta["W1"].shape[0]
        found = np.empty((seeds, rows, net.output_dim), self.dtype)
        images = 1
        if isinstance(net, Convolutional):
            images = convolutional.images_per_pass(net, self._sizes().images // (seeds * net.copies), self.dtype.itemsize)
        for tile in self._tiles(net, theta, rows, 0, "one"):
            values = network.outputs(net, theta, self._put(tile.cut_points(x)), images)
            found[:, tile.kept] = self._get(values)[:, : len(tile)]
        return found

    def _kernel(self, net: Network, theta: Theta, x1: np.ndarray, x2: np.ndarray | None, outputs: str) -> np.ndarray:
        """K2, (S, n1, n2) or (S, n1, n2, O, O), in tiles; those below the diagonal of a symmetric one are mirrored."""
        second = x1 if x2 is None else x2
        rows, columns = x1.shape[-2], second.shape[-2]
        tiles1, tiles2 = self._tiles(net, theta, rows, columns, outputs), self._tiles(net, theta, columns, rows, outputs)
        if x2 is None and len(tiles1) == 1:
            return self._get(ntk.ntk(net, theta, self._put(x1), None, outputs, self._sizes()))
        found = np.empty((theta["W1"].shape[0], rows, columns, *self._pair_of_outputs(net, outputs)), self.dtype)
        for tile1, tile2 in product(tiles1, tiles2):
            if x2 is None and tile2.kept.start < tile1.kept.start:
                continue
            points = self._put(tile1.cut_points(x1)), self._put(tile2.cut_points(second))
            kernel = self._get(ntk.ntk(net, theta, *points, outputs, self._sizes()))[:, : len(tile1), : len(tile2)]
            found[:, tile1.kept, tile2.kept] = kernel
            if x2 is None:
                mirrored = kernel.swapaxes(1, 2)
                found[:, tile2.kept, tile1.kept] = mirrored.swapaxes(3, 4) if outputs == "full" else mirrored
        return found

    @staticmethod
    def _pair_of_outputs(net: Network, outputs: str) -> tuple[int, ...]:
        return (net.output_dim, net.output_dim) if outputs == "full" else ()

    def _shared(self, theta: Parameters, block: Block) -> Theta:
        """For functions that only read them: as `_put`, in one transfer."""
        found: Theta = jax.device_put({name: np.asarray(block.cut(a), self.dtype) for name, a in theta.items()}, self._device)
        return found

    def _parameters(self, theta: Parameters, block: Block) -> Theta:
        """In memory that a function may overwrite."""
        return {name: self._own(block.cut(array)) for name, array in theta.items()}

    def _rows(self, block: Block, total: int) -> Array:
        """Places of the block's points among all."""
        found: Array = jax.device_put(block.cut(np.arange(total)), self._device)
        return found

    def _put(self, value: np.ndarray | float) -> Array:
        array: Array = jax.device_put(np.asarray(value, self.dtype), self._device)
        return array

    def _own(self, value: np.ndarray) -> Array:
        """As `_put`, in memory that jax may overwrite: on a CPU `device_put` shares the caller's."""
        return self._put(np.array(value, self.dtype))

    def _get(self, value: Array | np.ndarray) -> np.ndarray:
        if value.dtype != self.dtype:
            raise RuntimeError(
                f"jax computed in {value.dtype} where {self.dtype} was asked for: jax_enable_x64 was switched off"
            )
        return np.asarray(value)

    def _keep(self, found: np.ndarray, block: Block, values: Array | np.ndarray) -> None:
        found[block.kept] = self._get(values)[: len(block)]
