"""The contract in jax: numpy in, blocks through the compiled functions, numpy out."""

import importlib.metadata
import os
import platform
from collections.abc import Callable, Mapping, Sequence

import jax
import numpy as np

from ntkbench import limits
from ntkbench.backends import checks
from ntkbench.backends.base import Backend, BackendUnavailable, Progress, Trajectory
from ntkbench.backends.jax import hierarchy, linear_algebra, ntk, roofline, runtime, training
from ntkbench.backends.jax.architectures import architecture
from ntkbench.backends.jax.blocks import Stretches
from ntkbench.backends.jax.limits import runner
from ntkbench.backends.jax.network import undivided
from ntkbench.backends.jax.resources import Resources
from ntkbench.backends.jax.transfers import Transfers
from ntkbench.backends.jax.within_budget import WithinBudget, pair_of_outputs
from ntkbench.integrators import steps_between, tableau
from ntkbench.networks import Network, Parameters


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
        self._transfers = Transfers(self._device, self.dtype)
        self._resources = Resources(self._transfers, memory_bytes, self.threads if self.device == "cpu" else None)
        self._within = WithinBudget(self._resources)
        runtime.demand_full_precision()
        if self._transfers.put(np.ones(1)).dtype != self.dtype or runtime.matmul_precision() != "highest":
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
            "xla_flags": os.environ["XLA_FLAGS"],
            "threads": int(self.threads or 0),
        }

    def synchronize(self) -> None:
        """Devices work in order, so that the last thing asked is the last thing done."""
        (self._transfers.put(np.zeros(1)) + 1).block_until_ready()

    def forward(self, net: Network, theta: Parameters, x: np.ndarray) -> np.ndarray:
        """In blocks of seeds, and of rows where one seed does not fit the budget."""
        seeds = checks.parameters(net, theta)
        x = checks.inputs(net, seeds, x)
        found = np.empty((seeds, x.shape[-2], net.output_dim), self.dtype)
        net, scale = undivided(net)
        per_seed = ntk.bytes_per_seed(net, x.shape[-2], 0, self.dtype.itemsize, "one")
        for block in self._resources.blocks(seeds, per_seed, self._within.left(net)):
            parameters = self._transfers.parameters(theta, block)
            self._transfers.keep(found, block, self._within.outputs(net, parameters, block.cut_seeds(x)))
        found /= scale
        return found

    def ntk(
        self, net: Network, theta: Parameters, x1: np.ndarray, x2: np.ndarray | None = None, *, outputs: str = "one"
    ) -> np.ndarray:
        """In blocks of seeds, and in tiles where one seed does not fit the budget."""
        checks.outputs(net, outputs)
        seeds = checks.parameters(net, theta)
        x1, x2 = checks.inputs(net, seeds, x1, "x1"), None if x2 is None else checks.inputs(net, seeds, x2, "x2")
        columns = x1.shape[-2] if x2 is None else x2.shape[-2]
        found = np.empty((seeds, x1.shape[-2], columns, *pair_of_outputs(net, outputs)), self.dtype)
        net, _ = undivided(net)
        per_seed = ntk.bytes_per_seed(net, x1.shape[-2], columns, self.dtype.itemsize, outputs)
        for block in self._resources.blocks(seeds, per_seed, self._within.left(net)):
            points1, points2 = block.cut_seeds(x1), None if x2 is None else block.cut_seeds(x2)
            parameters = self._transfers.parameters(theta, block)
            self._within.write_kernel(found[block.kept], net, parameters, points1, points2, outputs)
        return found

    def hierarchy(self, net: Network, theta: Parameters, x: np.ndarray, order: int) -> dict[int, np.ndarray]:
        """In blocks of seeds, of points and of directions; ValueError also if one of each exceeds `memory_bytes`."""
        checks.hierarchy(net, order)
        seeds = checks.parameters(net, theta)
        x = checks.inputs(net, seeds, x)
        if order == 2:
            return {2: self.ntk(net, theta, x)}
        n = x.shape[-2]
        found = architecture(net).tensors(net, theta, x, int(order), self._resources)
        if found is None:
            return {2: self.ntk(net, theta, x), **self.contracted_hierarchy(net, theta, x, x, np.eye(n), order)}
        return found

    def contracted_hierarchy(
        self, net: Network, theta: Parameters, rows: np.ndarray, x: np.ndarray, basis: np.ndarray, order: int
    ) -> dict[int, np.ndarray]:
        """In blocks of rows and of points; ValueError also if one of each exceeds `memory_bytes`."""
        seeds = checks.parameters(net, theta)
        rows, x = checks.inputs(net, seeds, rows, "rows"), checks.inputs(net, seeds, x)
        basis = checks.contraction(net, seeds, x, basis, order)
        return architecture(net).contraction(net, theta, rows, x, basis, int(order), self._resources)

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
        net, scale = undivided(net)
        n = x.shape[-2]
        shapes = {"f": (n, net.output_dim), "K2": (n, n), "movement": (net.depth + 1,)}
        if x_test is not None:
            shapes["f_test"] = (x_test.shape[-2], net.output_dim)
        arrays = [name for name in observe if name != "theta"]
        found = {name: np.empty((seeds, len(counts), *shapes[name]), self.dtype) for name in arrays}
        path = [
            {name: np.empty(array.shape, self.dtype) for name, array in theta.items()} for _ in counts if "theta" in observe
        ]
        images = training.images(net, self._resources.sizes.images, self.dtype.itemsize)
        seed_blocks = self._resources.blocks(seeds, training.bytes_per_seed(net, n, method, self.dtype.itemsize, images))
        stretches = Stretches(progress, len(seed_blocks) * sum(counts))
        for block in seed_blocks:
            points, test_points = block.cut_seeds(x), None if x_test is None else block.cut_seeds(x_test)
            on_device = self._transfers.put(points), self._transfers.put(scale * block.cut_seeds(y))
            start, now = self._transfers.parameters(theta, block), self._transfers.own_parameters(theta, block)
            observer = training.Observer(arrays, net, start, points, test_points, self._within)
            states = training.states(net, method, now, on_device, self._transfers.put(step), counts, images, stretches)
            for i, state in enumerate(states):
                for name, values in observer(state).items():
                    self._transfers.keep(found[name][:, i], block, values)
                for name, parameters in path[i].items() if path else ():
                    self._transfers.keep(parameters, block, state[name])
        for name in {"f", "f_test"}.intersection(found):
            found[name] /= scale
        return Trajectory(np.asarray(times, dtype=np.float64), **found, theta=tuple(path) or None)

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
        for block in self._resources.blocks(
            seeds, self.dtype.itemsize * ((len(method.weights) + 4) * state_size + 2 * n**order)
        ):
            top, targets = map(self._transfers.put, (block.cut(kernels[order]), y if y.ndim == 1 else block.cut(y)))
            state = tuple(self._transfers.own(block.cut(k)) for k in (f0, *(kernels[r] for r in range(2, order))))
            for i, count in enumerate(counts):
                state = hierarchy.advance(method, state, top, targets, self._transfers.put(step), count)
                self._transfers.keep(f[:, i, :, 0], block, state[0])
                self._transfers.keep(K2[:, i], block, state[1] if order > 2 else top)
        return Trajectory(np.asarray(times, dtype=np.float64), f=f, K2=K2)

    def limiting_kernels(self, net: Network, x1: np.ndarray, x2: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """By `ntkbench.limits`, compiled for a tile."""
        given = [checks.shared_inputs(net, x, name) for name, x in (("x1", x1), ("x2", x2)) if name == "x1" or x is not None]
        points = [x.astype(self.dtype) for x in given]
        budget = self.memory_bytes if self.device == "cuda" else min(self.memory_bytes, limits.CACHE_BYTES)
        return limits.kernels(net, *points, memory_bytes=budget, run=runner(self._transfers.put, self._transfers.get))

    def solve(self, kernel: np.ndarray, rhs: np.ndarray, ridge: float = 0.0) -> np.ndarray:
        """In blocks of the batch."""
        kernel, rhs = checks.linear_system(kernel, rhs, ridge)
        batch, sides = (kernel, rhs) if kernel.ndim == 3 else (kernel[None], rhs[None])
        found, shift = np.empty(sides.shape, self.dtype), self._transfers.put(ridge)
        for block in self._resources.blocks(len(batch), 4 * self.dtype.itemsize * (batch[0].size + sides[0].size)):
            matrices, rows = map(self._transfers.put, (block.cut(batch), block.cut(sides)))
            self._transfers.keep(found, block, linear_algebra.solve(matrices, rows, shift))
            failed = ~np.isfinite(found[block.kept]).all(axis=(1, 2))
            if failed.any():
                first = int(failed.argmax())
                smallest = float(linear_algebra.smallest_eigenvalue(matrices[first], shift))
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
        length_and_counts = self._transfers.put(step), self._transfers.put(np.asarray(counts))
        for block in self._resources.blocks(batch, needed):
            matrices, residuals, tests = (self._transfers.put(block.cut(array)) for array in (kernel, residual0, kernel_test))
            movements = linear_algebra.kernel_descent(matrices, residuals, *length_and_counts, tests)
            self._transfers.keep(train, block, movements[0])
            self._transfers.keep(test, block, movements[1])
        return train, test

    def matrix_products(self, shapes: Sequence[tuple[int, int, int, int]]) -> Callable[[], None]:
        """Compiled before it is returned."""
        checks.products(shapes)
        return roofline.matrix_products(shapes, self.precision, self._device)
