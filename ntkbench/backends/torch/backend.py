"""The torch implementation of the backend contract: numpy in, numpy out, seeds in blocks under the memory budget."""

import os
import platform
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch

from ntkbench import limits
from ntkbench.backends import checks
from ntkbench.backends.base import Backend, BackendUnavailable, Progress, Trajectory
from ntkbench.backends.torch import hierarchy, linear_algebra, ntk, roofline, training, within_budget
from ntkbench.backends.torch.architecture import Kernels
from ntkbench.backends.torch.architectures import architecture
from ntkbench.backends.torch.limits import runner
from ntkbench.backends.torch.tiles import cache_bytes
from ntkbench.backends.torch.transfers import Transfers, joined, joined_by_name
from ntkbench.integrators import steps_between, tableau
from ntkbench.networks import Network, Parameters


class TorchBackend(Backend):
    """The contract in torch. Construction sets torch's process-wide flags: deterministic algorithms, no TF32, threads."""

    name = "torch"

    def __init__(self, device: str = "auto", precision: str = "float64", threads: int | None = None, memory_bytes: int = 2**31):
        super().__init__(device, precision, threads, memory_bytes)
        if device == "cuda" and not torch.cuda.is_available():
            raise BackendUnavailable("device 'cuda' was asked for, but torch sees no GPU; choose 'auto' or 'cpu'")
        self.device = "cuda" if device != "cpu" and torch.cuda.is_available() else "cpu"
        self.dtype = torch.float64 if precision == "float64" else torch.float32
        self._transfers = Transfers(self.device, self.dtype)
        if threads is not None:
            torch.set_num_threads(threads)
        # cuBLAS is deterministic only with a fixed workspace, which it reads when it is first used.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)
        # Otherwise deterministic mode fills all new memory with NaN, one more pass over it.
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
        torch.set_float32_matmul_precision("highest")
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.allow_tf32 = False
        if self._tf32() or not torch.are_deterministic_algorithms_enabled():
            raise RuntimeError("torch refused to switch TF32 off or deterministic algorithms on")

    @staticmethod
    def _tf32() -> bool:
        cuda = torch.backends.cuda.matmul.allow_tf32 or torch.backends.cudnn.allow_tf32
        return cuda or torch.get_float32_matmul_precision() != "highest"

    def facts(self) -> Mapping[str, str | int | float | bool]:
        """Adds `tf32` and `deterministic` as torch reports them now, and the workspace that makes cuBLAS deterministic."""
        on_gpu = self.device == "cuda"
        return {
            "framework": "torch",
            "version": torch.__version__,
            "device": self.device,
            "device_name": torch.cuda.get_device_name() if on_gpu else platform.processor() or platform.machine(),
            "precision": self.precision,
            "tf32": self._tf32(),
            "deterministic": torch.are_deterministic_algorithms_enabled(),
            "cublas_workspace": os.environ["CUBLAS_WORKSPACE_CONFIG"],
            "threads": torch.get_num_threads(),
        }

    def synchronize(self) -> None:
        """Nothing to wait for on the CPU."""
        if self.device == "cuda":
            torch.cuda.synchronize()

    @torch.inference_mode()
    def forward(self, net: Network, theta: Parameters, x: np.ndarray) -> np.ndarray:
        """In blocks of seeds, and of rows where one seed does not fit the budget."""
        seeds = checks.parameters(net, theta)
        x = checks.inputs(net, seeds, x)
        found = []
        for block in self.seed_blocks(seeds, within_budget.bytes_per_seed(net, x.shape[-2], self.dtype.itemsize)):
            parameters, points = self._transfers.parameters(theta, block), self._transfers.points(net, x, seeds, block)
            found.append(within_budget.outputs(net, parameters, points, self.memory_bytes))
        return joined(found)

    @torch.inference_mode()
    def ntk(
        self, net: Network, theta: Parameters, x1: np.ndarray, x2: np.ndarray | None = None, *, outputs: str = "one"
    ) -> np.ndarray:
        """In blocks of seeds, and in tiles where one seed does not fit the budget."""
        checks.outputs(net, outputs)
        seeds = checks.parameters(net, theta)
        x1, x2 = checks.inputs(net, seeds, x1, "x1"), None if x2 is None else checks.inputs(net, seeds, x2, "x2")
        rows1, rows2 = x1.shape[-2], x1.shape[-2] if x2 is None else x2.shape[-2]
        per_seed = ntk.bytes_per_seed(net, rows1, rows2, outputs, self.dtype.itemsize)
        found = []
        for block in self.seed_blocks(seeds, per_seed):
            points1 = self._transfers.points(net, x1, seeds, block)
            points2 = None if x2 is None else self._transfers.points(net, x2, seeds, block)
            parameters = self._transfers.parameters(theta, block)
            found.append(within_budget.kernel(net, parameters, points1, points2, outputs, self.memory_bytes))
        return joined(found)

    @torch.inference_mode()
    def hierarchy(self, net: Network, theta: Parameters, x: np.ndarray, order: int) -> dict[int, np.ndarray]:
        """In blocks of seeds; ValueError also if the temporaries of one seed exceed `memory_bytes`."""
        checks.hierarchy(net, order)
        seeds = checks.parameters(net, theta)
        x = checks.inputs(net, seeds, x)
        if order == 2:
            return {2: self.ntk(net, theta, x)}
        n = x.shape[-2]
        prepared = architecture(net).tensors(net, n, int(order), self.dtype.itemsize, self.memory_bytes)
        if prepared is None:
            return {2: self.ntk(net, theta, x), **self.contracted_hierarchy(net, theta, x, x, np.eye(n), order)}
        return self._in_blocks(prepared, net, theta, x)

    @torch.inference_mode()
    def contracted_hierarchy(
        self, net: Network, theta: Parameters, rows: np.ndarray, x: np.ndarray, basis: np.ndarray, order: int
    ) -> dict[int, np.ndarray]:
        """In blocks of seeds, and of rows; ValueError also if one row and all points of one seed exceed `memory_bytes`."""
        seeds = checks.parameters(net, theta)
        rows, x = checks.inputs(net, seeds, rows, "rows"), checks.inputs(net, seeds, x)
        basis = checks.contraction(net, seeds, x, basis, order)
        sizes = rows.shape[-2], x.shape[-2], basis.shape[-1], int(order), self.dtype.itemsize
        prepared = architecture(net).contraction(net, *sizes, self.memory_bytes)
        return self._in_blocks(prepared, net, theta, rows, x, basis)

    def _in_blocks(self, prepared: Kernels, net: Network, theta: Parameters, *arrays: np.ndarray) -> dict[int, np.ndarray]:
        """Of seeds; an array that stands for several remains one."""
        seeds, found = len(theta["W1"]), []
        for block in self.seed_blocks(seeds, prepared.bytes_per_seed):
            given = {id(array): self._transfers.points(net, array, seeds, block) for array in arrays}
            kernels = prepared.compute(self._transfers.parameters(theta, block), *(given[id(array)] for array in arrays))
            found.append({r: self._transfers.get(kernel) for r, kernel in kernels.items()})
        return joined_by_name(found)

    @torch.inference_mode()
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
        """In blocks of seeds, each trained to the end before the next; `progress` counts the steps of all blocks."""
        seeds = checks.parameters(net, theta)
        x = checks.inputs(net, seeds, x)
        y, x_test = checks.training(net, seeds, x, y, observe, x_test)
        counts, method = steps_between(times, step), tableau(integrator)
        rows, test_rows = x.shape[-2], 0 if x_test is None else x_test.shape[-2]
        per_seed = training.bytes_per_seed(net, rows, test_rows, method, observe, self.dtype.itemsize)
        # Every pass is over all of a block's parameters: they had better stay in the cache from one pass to the next.
        share = max(1, self.memory_bytes // (4 * cache_bytes(torch.device(self.device))))
        blocks = list(self.seed_blocks(seeds, share * per_seed))
        tick = training.ticker(progress, len(blocks) * sum(counts))
        found, parameters = [], []
        for block in blocks:
            start = self._transfers.parameters(theta, block)
            points, targets = self._transfers.points(net, x, seeds, block), self._transfers.own(y if y.ndim == 2 else y[block])
            test_points = None if x_test is None else self._transfers.points(net, x_test, seeds, block)
            stepper = training.Stepper(net, start, points, targets, method, step)
            observer = training.Observer(observe, net, start, points, test_points, self.memory_bytes)
            observed, at_times = training.record(stepper, counts, observer, tick)
            found.append(observed)
            parameters.append(at_times)
        path = tuple(map(joined_by_name, zip(*parameters, strict=True))) if "theta" in observe else None
        return Trajectory(np.asarray(times, dtype=float), **joined_by_name(found), theta=path)

    @torch.inference_mode()
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
        """By `ntkbench.hierarchy` on torch tensors, in blocks of seeds."""
        kernels, f0, y = checks.truncated_hierarchy(kernels, f0, y)
        order = max(kernels)
        counts, method = steps_between(times, step), tableau(integrator)
        seeds, n = f0.shape
        # Besides its value every array of the state has a slope per stage, a stage point and the terms of two sums.
        held = (len(method.stages) + 4) * sum(n**r for r in range(1, order)) + n**order
        found = []
        for block in self.seed_blocks(seeds, self.dtype.itemsize * held):
            state = tuple(self._transfers.own(array[block]) for array in (f0, *(kernels[r] for r in range(2, order))))
            top, targets = self._transfers.own(kernels[order][block]), self._transfers.own(y if y.ndim == 1 else y[block])
            found.append([*map(self._transfers.get, hierarchy.integrate(state, top, targets, counts, step, method))])
        f, K2 = map(joined, zip(*found, strict=True))
        return Trajectory(np.asarray(times, dtype=float), f=f[..., np.newaxis], K2=K2)

    @torch.inference_mode()
    def limiting_kernels(self, net: Network, x1: np.ndarray, x2: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """By `ntkbench.limits`, tile by tile on torch tensors."""
        given = [checks.shared_inputs(net, x, name) for name, x in (("x1", x1), ("x2", x2)) if name == "x1" or x is not None]
        points = [x.astype(self.precision) for x in given]
        budget = self.memory_bytes if self.device == "cuda" else min(self.memory_bytes, limits.CACHE_BYTES)
        return limits.kernels(net, *points, memory_bytes=budget, run=runner(self.dtype, self.device))

    @torch.inference_mode()
    def solve(self, kernel: np.ndarray, rhs: np.ndarray, ridge: float = 0.0) -> np.ndarray:
        """In blocks of matrices; reads the lower triangle."""
        kernel, rhs = checks.linear_system(kernel, rhs, ridge)
        kernels, sides = (array.reshape(-1, *array.shape[-2:]) for array in (kernel, rhs))
        per_matrix = self.dtype.itemsize * (3 * kernels[0].size + 2 * sides[0].size)
        found = []
        for block in self.seed_blocks(len(kernels), per_matrix):
            matrices = self._transfers.put(kernels[block])
            solution, failed = linear_algebra.solve(matrices, self._transfers.put(sides[block]), ridge)
            if failed is not None:
                smallest = linear_algebra.smallest_eigenvalue(matrices[failed], ridge)
                raise checks.not_positive_definite(block.start + failed, len(kernels), smallest, ridge)
            found.append(self._transfers.get(solution))
        return joined(found).reshape(rhs.shape)

    @torch.inference_mode()
    def kernel_descent(
        self, kernel: np.ndarray, residual0: np.ndarray, *, step: float, counts: Sequence[int], kernel_test: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """In blocks of matrices."""
        kernel, residual0, kernel_test = checks.kernel_descent(kernel, residual0, step, counts, kernel_test)
        movements = len(counts) * residual0.shape[2] * (3 * kernel.shape[1] + 2 * kernel_test.shape[1])
        per_matrix = self.dtype.itemsize * (4 * kernel[0].size + kernel_test[0].size + movements)
        found = []
        for block in self.seed_blocks(len(kernel), per_matrix):
            matrices, residuals, tests = (self._transfers.put(array[block]) for array in (kernel, residual0, kernel_test))
            movements = linear_algebra.kernel_descent(matrices, residuals, step, counts, tests)
            found.append([*map(self._transfers.get, movements)])
        train, test = map(joined, zip(*found, strict=True))
        return train, test

    def matrix_products(self, shapes: Sequence[tuple[int, int, int, int]]) -> Callable[[], None]:
        """By `torch.bmm` into outputs allocated once."""
        checks.products(shapes)
        products = roofline.matrix_products(shapes, self.dtype, self.device)

        def run() -> None:
            products()
            self.synchronize()

        return run
