"""Cholesky solves, and gradient descent of a kernel's linear model in closed form."""

from functools import partial

import jax
import jax.numpy as jnp
from jax import Array


@jax.jit
def solve(kernel: Array, rhs: Array, ridge: Array) -> Array:
    """`(kernel + ridge * I)^-1 rhs`, (B, n, k); NaN where a matrix is not positive definite."""
    factor = jnp.linalg.cholesky(_shifted(kernel, ridge))
    half = jax.lax.linalg.triangular_solve(factor, rhs, left_side=True, lower=True)
    solution: Array = jax.lax.linalg.triangular_solve(factor, half, left_side=True, lower=True, transpose_a=True)
    return solution


@jax.jit
def smallest_eigenvalue(kernel: Array, ridge: Array) -> Array:
    """Of `kernel + ridge * I`, (n, n)."""
    smallest: Array = jnp.linalg.eigvalsh(_shifted(kernel, ridge))[0]
    return smallest


def _shifted(kernel: Array, ridge: Array) -> Array:
    return kernel + ridge * jnp.eye(kernel.shape[-1], dtype=kernel.dtype)


@jax.jit
def kernel_descent(kernel: Array, residual0: Array, step: Array, counts: Array, kernel_test: Array) -> tuple[Array, Array]:
    """Movements of train and test outputs after each number of steps, (B, T, n, O) and (B, T, n_test, O).

    In the eigenbasis `K = V diag(lambda) V^T` both are driven by `s_k = sum_{j<k} (1 - a)^j`, `a = step * lambda / n`: train
    points move by `-V a s_k V^T r_0`, test points by `-(step / n) K_test V s_k V^T r_0`.
    """
    n = kernel.shape[-1]
    eigenvalues, vectors = jnp.linalg.eigh(kernel)
    rates = step / n * eigenvalues
    sums = jax.vmap(partial(_geometric_sum, rates), out_axes=1)(counts)
    modes = sums[..., None] * jnp.einsum("bai,bao->bio", vectors, residual0)[:, None]
    train = -jnp.einsum("bai,bi,btio->btao", vectors, rates, modes)
    test = -step / n * jnp.einsum("bca,bai,btio->btco", kernel_test, vectors, modes)
    return train, test


def _geometric_sum(rate: Array, count: Array) -> Array:
    """`sum_{j<count} (1 - rate)^j`; for small rates by expm1, since `1 - (1 - rate)^count` cancels, and `count` at rate 0."""
    small = jnp.abs(rate) < 0.5
    inner = jnp.where(small & (rate != 0), rate, 0.25)
    accurate = jnp.where(rate == 0, count, -jnp.expm1(count * jnp.log1p(-inner)) / inner)
    outer = jnp.where(small, 1.0, rate)
    return jnp.where(small, accurate, (1 - (1 - outer) ** count) / outer)
