"""Dense linear algebra of kernel matrices: solve, and gradient descent in the kernel's linear model."""

from collections.abc import Sequence

import numpy as np
import torch

Tensor = torch.Tensor


def solve(kernel: Tensor, rhs: Tensor, ridge: float) -> Tensor:
    """`(kernel + ridge * I)^-1 rhs` by Cholesky; kernel (B, n, n), rhs (B, n, k).

    Raises:
        numpy.linalg.LinAlgError: if a matrix is not positive definite; names the smallest eigenvalue.
    """
    shifted = kernel.clone()
    shifted.diagonal(dim1=1, dim2=2).add_(ridge)
    factor, failed = torch.linalg.cholesky_ex(shifted)
    if failed.any():
        first = int(failed.nonzero()[0])
        smallest = float(torch.linalg.eigvalsh(shifted[first])[0])
        raise np.linalg.LinAlgError(
            f"matrix {first} of {len(kernel)} is not positive definite: smallest eigenvalue {smallest:.6g} "
            f"with ridge {ridge:g}; raise the ridge"
        )
    return torch.cholesky_solve(rhs, factor)


def kernel_descent(
    kernel: Tensor, residual0: Tensor, step: float, counts: Sequence[int], kernel_test: Tensor
) -> tuple[Tensor, Tensor]:
    """Movements `f_k - f_0` of gradient descent in the kernel's linear model; shapes as in `Backend.kernel_descent`."""
    n = kernel.shape[1]
    eigenvalues, vectors = torch.linalg.eigh(kernel)
    rates = eigenvalues * (step / n)
    sums = torch.stack([geometric_sum(rates, count) for count in counts], dim=1)
    modes = sums.unsqueeze(-1) * (vectors.mT @ residual0).unsqueeze(1)
    summed_residuals = vectors.unsqueeze(1) @ modes
    train = vectors.unsqueeze(1) @ (-rates[:, None, :, None] * modes)
    test = kernel_test.unsqueeze(1) @ summed_residuals * (-step / n)
    return train, test


def geometric_sum(rates: Tensor, count: int) -> Tensor:
    """`sum_{j < count} (1 - rate)^j`, to full relative precision also where the rate is tiny or zero."""
    small = rates.abs() < 0.5
    safe = torch.where(small & (rates != 0), rates, 0.25)
    near = torch.where(rates == 0, float(count), -torch.expm1(count * torch.log1p(-safe)) / safe)
    far = torch.where(small, 1.0, rates)
    return torch.where(small, near, (1 - (1 - far) ** count) / far)
