"""Dense linear algebra of kernel matrices: solve, and gradient descent in the kernel's linear model."""

from collections.abc import Sequence

import torch

Tensor = torch.Tensor


def solve(kernel: Tensor, rhs: Tensor, ridge: float) -> tuple[Tensor, int | None]:
    """`(kernel + ridge * I)^-1 rhs` by Cholesky, and the first matrix that is not positive definite, None where all are.

    Args:
        kernel: (B, n, n); rhs: (B, n, k).
    """
    factor, failed = torch.linalg.cholesky_ex(_shifted(kernel, ridge))
    if failed.any():
        return rhs, int(failed.nonzero()[0])
    return torch.cholesky_solve(rhs, factor), None


def smallest_eigenvalue(kernel: Tensor, ridge: float) -> float:
    """Of `kernel + ridge * I`, (n, n)."""
    return float(torch.linalg.eigvalsh(_shifted(kernel, ridge))[0])


def _shifted(kernel: Tensor, ridge: float) -> Tensor:
    shifted = kernel.clone()
    shifted.diagonal(dim1=-2, dim2=-1).add_(ridge)
    return shifted


def kernel_descent(
    kernel: Tensor, residual0: Tensor, step: float, counts: Sequence[int], kernel_test: Tensor
) -> tuple[Tensor, Tensor]:
    """Movements `f_k - f_0` of gradient descent in the kernel's linear model; shapes as in `Backend.kernel_descent`."""
    n = kernel.shape[1]
    eigenvalues, vectors = torch.linalg.eigh(kernel)
    rates = eigenvalues * (step / n)
    sums = torch.stack([geometric_sum(rates, count) for count in counts], dim=1)
    modes = sums.unsqueeze(-1) * (vectors.mT @ residual0).unsqueeze(1)
    train = _columns(vectors, -rates[:, None, :, None] * modes)
    test = _columns(kernel_test, _columns(vectors, modes)) * (-step / n)
    return train, test


def _columns(matrix: Tensor, records: Tensor) -> Tensor:
    """(B, m, n) times (B, T, n, O), as one product for all T: a broadcast one would copy the matrix T times."""
    found = matrix @ records.transpose(1, 2).flatten(2)
    return found.reshape(*found.shape[:2], records.shape[1], records.shape[3]).transpose(1, 2)


def geometric_sum(rates: Tensor, count: int) -> Tensor:
    """`sum_{j < count} (1 - rate)^j`, to full relative precision also where the rate is tiny or zero."""
    small = rates.abs() < 0.5
    safe = torch.where(small & (rates != 0), rates, 0.25)
    near = torch.where(rates == 0, float(count), -torch.expm1(count * torch.log1p(-safe)) / safe)
    far = torch.where(small, 1.0, rates)
    return torch.where(small, near, (1 - (1 - far) ** count) / far)
