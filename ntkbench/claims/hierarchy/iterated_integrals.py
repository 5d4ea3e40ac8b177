"""The truncated hierarchy is the expansion of the kernel in the residual's iterated integrals."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import numpy as np

from ntkbench import data
from ntkbench.backends.base import Backend
from ntkbench.claims.base import Arrays, Claim, Panel
from ntkbench.claims.calls import Call, Draw, Forward, Hierarchy, IntegrateHierarchy, steps
from ntkbench.claims.truncated import SmoothCase
from ntkbench.hierarchy import runge_kutta_step
from ntkbench.hierarchy.expansion import principal_vectors
from ntkbench.integrators import steps_between, tableau
from ntkbench.seeding import rng
from ntkbench.verdicts.expectations import Identity

ORDERS = (3, 4, 5, 6)
FACTORED = 5
"""The order whose integrals of level 3 are factored."""

VECTORS = (1, 2, 3, 4, 5, 6)
FEW = 4
"""The size of the basis that is to do for 8 points: 64 products of basis vectors in place of 512 entries."""


@dataclass(frozen=True, kw_only=True)
class IteratedIntegralsCase(SmoothCase):
    """Adds what is asked.

    Attributes:
        question: `identity`, the orders against the expansion; `factored`, order 5 with the integrals in a basis; or `both`.
        top: the highest order that is held against the expansion; the lowest is 3.
    """

    adjustable: ClassVar = SmoothCase.adjustable | {"top"}

    question: Literal["identity", "factored", "both"]
    top: Literal[3, 4, 5, 6] = 6
    control: Literal["wrong_integrals", "random_basis"] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.factored and self.train_size < max(VECTORS):
            raise ValueError(f"train_size must be at least {max(VECTORS)} where integrals are factored, got {self.train_size}")

    @property
    def factored(self) -> bool:
        """Whether order 5 is integrated in bases."""
        return self.question != "identity"

    @property
    def orders(self) -> tuple[int, ...]:
        """The orders that are held against the expansion."""
        return () if self.question == "factored" else tuple(p for p in ORDERS if p <= self.top)


def _identity(order: int) -> Identity:
    return Identity(
        name=f"deviation_p{order}",
        statement=f"Order {order} is the expansion up to level {order - 2}.",
        source="huang2020dynamics, eq. (2.7) (integrated: appendix)",
        quantity=f"deviation_p{order}",
        control="wrong_integrals",
        where={"question": ("identity", "both"), "top": tuple(range(order, ORDERS[-1] + 1))},
        tolerance=1e-10,
    )


class IteratedIntegrals(Claim):
    """See `statement`."""

    id: ClassVar = "hierarchy/iterated_integrals"
    title: ClassVar = "The truncated hierarchy expands the kernel in iterated integrals"
    statement: ClassVar = (
        "The hierarchy truncated at order p is the expansion of K2 in the iterated integrals of the residual along its own "
        "path up to level p - 2, with the kernels at t = 0 as coefficients: outputs and integrals replace the tensors, and the "
        "integrals need few vectors of the path per slot."
    )
    source: ClassVar = "huang2020dynamics, eq. (2.7) and Theorem 2.6 (integrated: appendix)"
    reference_ids: ClassVar = ("HY-1", "HY-6")
    assumptions: ClassVar = (
        "A smooth activation. Both forms are integrated with the same steps. An affine map takes one into the other, with "
        "which every Runge-Kutta method commutes, so that they agree to rounding whatever the step."
    )
    controls: ClassVar = {
        "wrong_integrals": (
            "at order 3, whose integrals have one slot, those of the residual with the NTK frozen in place of the truncated "
            "hierarchy's own; from order 4 on the slots of the integrals in reversed order"
        ),
        "random_basis": "random orthonormal vectors in place of the leading vectors of the residual's path",
    }
    quantities: ClassVar = {
        **{
            f"deviation_p{p}": (
                f"largest difference at the recorded times of the hierarchy of order {p} and the expansion: of the outputs "
                "over the largest residual at t = 0, or of the NTK over its largest entry, whichever is larger"
            )
            for p in ORDERS
        },
        "factored": (
            f"largest change of the outputs of order {FACTORED} at the recorded times, over the largest residual at t = 0, "
            f"when all integrals are in a basis of {FEW} principal vectors of the residual's path"
        ),
        "factored_path": "the same for bases of one to six vectors",
    }
    expectations: ClassVar = (
        *(_identity(p) for p in ORDERS),
        Identity(
            name="factored",
            statement=f"In {FEW} vectors of the path of 8 points ({FEW**3} of 512 entries of S_3) order 5 errs at most 1e-6.",
            source="huang2020dynamics, eq. (2.7) (integrated: appendix)",
            quantity="factored",
            control="random_basis",
            where={"question": ("factored", "both")},
            tolerance=1e-6,
        ),
    )
    limitations: ClassVar = (
        "Few points, since the tensors that the expansion is held against have n^p entries; a plain initialization, since odd "
        "kernels vanish from an antisymmetric one; one draw of the data per case. How many vectors suffice depends on how far "
        "the eigenvalues of the NTK times t/n spread: 4 vectors of 8 points is a statement about moderate times. The case at a "
        "later time was added after a trial with other draws."
    )
    figure: ClassVar = (
        Panel(
            title="Order 5 by vectors of the path",
            kind="along",
            quantities=("factored_path",),
            ylabel="relative change of f",
            where={"question": ("factored", "both")},
        ),
    )
    caption: ClassVar = (
        "Relative change of the outputs of order 5 when the integrals of the residual are written in a basis of one to six "
        "principal vectors of its path, of eight points. The deviation of the two forms is rounding and is not drawn."
    )
    case_type: ClassVar = IteratedIntegralsCase
    axis: ClassVar = "vectors of the path"
    growth: ClassVar[Mapping[str, float]] = {}

    def measure(self, backend: Backend, case: IteratedIntegralsCase, data: data.Dataset, width: int, root: int) -> Arrays:
        net = case.network(width)
        theta = net.initialize(root, range(case.seeds))
        kernels = backend.hierarchy(net, theta, data.x, max((*case.orders, FACTORED)))
        f0, y = backend.forward(net, theta, data.x)[..., 0], data.y[:, 0]
        arrays = {"residual0": f0 - y}
        for p in case.orders:
            system = {r: kernels[r] for r in range(2, p + 1)}
            whole = backend.integrate_hierarchy(system, f0, y, **case.flow())
            arrays |= {f"f_p{p}": whole.observed("f")[..., 0], f"K2_p{p}": whole.observed("K2")}
            arrays[f"f_expanded_p{p}"], arrays[f"K2_expanded_p{p}"] = _expanded(case, system, f0, y)
        if case.factored:
            system = {r: kernels[r] for r in range(2, FACTORED + 1)}
            arrays["f_whole"], _ = _expanded(case, system, f0, y)
            every_step = case.step * np.arange(1, steps(case.times, case.step) + 1)
            path, _ = _expanded(replace(case, times=tuple(every_step)), system, f0, y)
            path = np.concatenate([f0[:, None], path], axis=1) - y
            for k in VECTORS:
                basis = np.stack([_basis(case, one.T, k, root, width, seed) for seed, one in enumerate(path)])
                arrays[f"f_factored_k{k}"], _ = _expanded(case, system, f0, y, basis)
        return arrays

    def calls(self, case: IteratedIntegralsCase, width: int) -> tuple[Call, ...]:
        networks: dict[str, Any] = {"net": case.network(width), "seeds": case.seeds}
        points = case.train_size
        highest = max((*case.orders, FACTORED))
        asked = (Draw(**networks), Hierarchy(**networks, points=points, order=highest), Forward(**networks, points=points))
        integrated = (IntegrateHierarchy.along(case.flow(), seeds=case.seeds, points=points, order=p) for p in case.orders)
        return (*asked, *integrated)

    def summarize(self, case: IteratedIntegralsCase, arrays: Arrays, width: int) -> dict[str, np.ndarray]:
        scale = np.abs(arrays["residual0"]).max(axis=1)
        summary = {}
        for p in case.orders:
            of_f, of_K2 = (_largest(arrays[f"{name}_expanded_p{p}"] - arrays[f"{name}_p{p}"]) for name in ("f", "K2"))
            summary[f"deviation_p{p}"] = np.maximum(of_f / scale, of_K2 / _largest(arrays[f"K2_p{p}"]))
        if case.factored:
            changes = [_largest(arrays[f"f_factored_k{k}"] - arrays["f_whole"]) / scale for k in VECTORS]
            summary |= {"factored": changes[VECTORS.index(FEW)], "factored_path": np.stack(changes, axis=1)}
        return summary

    def along(self, case: IteratedIntegralsCase) -> tuple[float, ...]:
        return VECTORS


def _largest(values: np.ndarray) -> np.ndarray:
    found: np.ndarray = np.abs(values).reshape(len(values), -1).max(axis=1)
    return found


def _basis(case: IteratedIntegralsCase, path: np.ndarray, k: int, root: int, width: int, seed: int) -> np.ndarray:
    """(n, k) with orthonormal columns, from a residual's path (n, T)."""
    if case.control != "random_basis":
        return principal_vectors(path, k)
    draw = rng(root, "random_basis", "vectors", k, "width", width, "seed", seed)
    return np.linalg.qr(draw.standard_normal((len(path), k)))[0]


def _expanded(
    case: IteratedIntegralsCase,
    kernels: Mapping[int, np.ndarray],
    f0: np.ndarray,
    y: np.ndarray,
    basis: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Outputs (S, T, n) and NTK (S, T, n, n) from the state `(f, S_1, ..)`, and one more f in it that the frozen NTK drives.

    `K2(t) = K2 + sum_j (-1/n)^j K_{2+j} : S_j`, `dS_j/dt = r (x) S_{j-1}`: the slots go from the latest time to the earliest.
    With a basis (S, n, k) the integrals are those of the components of r, and kernels have components in the same slots.
    """
    seeds, n = f0.shape
    top = max(kernels)
    frozen_path, reversed_slots = (case.control == "wrong_integrals" and wrong for wrong in (top == 3, top > 3))
    contracted = {r: _in_basis(kernels[r], basis) for r in range(3, top + 1)}

    def kernel(integrals: tuple[np.ndarray, ...]) -> np.ndarray:
        found = kernels[2]
        for level, integral in enumerate(integrals, start=1):
            if reversed_slots:
                integral = integral.transpose(0, *range(level, 0, -1))
            term = contracted[2 + level].reshape(seeds, n * n, -1) @ integral.reshape(seeds, -1, 1)
            found = found + (-1 / n) ** level * term.reshape(seeds, n, n)
        return found

    def slope(state: tuple[np.ndarray, ...]) -> tuple[np.ndarray, ...]:
        f, frozen, *integrals = state
        along = (frozen if frozen_path else f) - y
        if basis is not None:
            along = np.einsum("sak,sa->sk", basis, along)
        slopes = [along] + [along.reshape(seeds, -1, *(1,) * lower) * s[:, None] for lower, s in enumerate(integrals[:-1], 1)]
        return (_driven(kernel(tuple(integrals)), f - y), _driven(kernels[2], frozen - y), *slopes)

    k = n if basis is None else basis.shape[-1]
    state = (f0, f0, *(np.zeros((seeds,) + (k,) * level) for level in range(1, top - 1)))
    outputs, kernels_in_time = [], []
    for count in steps_between(case.times, case.step):
        for _ in range(count):
            state = runge_kutta_step(slope, state, case.step, tableau(case.integrator))
        outputs.append(state[0])
        kernels_in_time.append(kernel(state[2:]))
    return np.stack(outputs, axis=1), np.stack(kernels_in_time, axis=1)


def _driven(kernel: np.ndarray, residual: np.ndarray) -> np.ndarray:
    """`-(1/n) kernel . residual`."""
    slope: np.ndarray = (kernel @ residual[..., None])[..., 0] / -residual.shape[1]
    return slope


def _in_basis(kernel: np.ndarray, basis: np.ndarray | None) -> np.ndarray:
    """The kernel with its third slot and all later ones in the basis."""
    if basis is not None:
        for slot in range(3, kernel.ndim):
            moved = np.moveaxis(kernel, slot, -1)
            turned = (moved.reshape(len(kernel), -1, moved.shape[-1]) @ basis).reshape(*moved.shape[:-1], -1)
            kernel = np.moveaxis(turned, -1, slot)
    return kernel


CLAIM = IteratedIntegrals()
