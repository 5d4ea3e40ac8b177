"""The models of `models_torch`, as people write them in jax: functions of named parameters, named as torch names them."""

import jax
import jax.numpy as jnp
from jax import Array

Params = dict[str, Array]

HEADS = 2


def linear(p: Params, name: str, h: Array) -> Array:
    bias = p.get(f"{name}.bias", 0.0)
    return h @ p[f"{name}.weight"].T + bias


def layer_norm(p: Params, name: str, h: Array) -> Array:
    centred = h - h.mean(-1, keepdims=True)
    return centred / jnp.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5) * p[f"{name}.weight"] + p[f"{name}.bias"]


def attention(p: Params, name: str, h: Array) -> Array:
    n, length, width = h.shape
    q, k, v = (linear(p, f"{name}.{part}", h).reshape(n, length, HEADS, -1) for part in ("query", "key", "value"))
    scores = jnp.einsum("nthc,nshc->nhts", q, k) / jnp.sqrt(width / HEADS)
    scores = jnp.where(jnp.tril(jnp.ones((length, length), bool)), scores, -jnp.inf)
    mixed = jnp.einsum("nhts,nshc->nthc", jax.nn.softmax(scores), v)
    return linear(p, f"{name}.out", mixed.reshape(n, length, width))


def transformer(p: Params, tokens: Array) -> Array:
    h = p["token.weight"][tokens] + p["position"]
    h = h + attention(p, "block.attention", layer_norm(p, "block.norm1", h))
    inner = jax.nn.gelu(linear(p, "block.up", layer_norm(p, "block.norm2", h)), approximate=False)
    h = h + linear(p, "block.down", inner)
    return linear(p, "readout", layer_norm(p, "norm", h)[:, -1])


def convolution(p: Params, name: str, h: Array, stride: int = 1, padding: int = 1) -> Array:
    window = [(padding, padding)] * 2
    found = jax.lax.conv_general_dilated(h, p[f"{name}.weight"], (stride, stride), window)
    return found + p[f"{name}.bias"][:, None, None] if f"{name}.bias" in p else found


def group_norm(p: Params, name: str, h: Array, groups: int) -> Array:
    parts = h.reshape(h.shape[0], groups, -1)
    centred = parts - parts.mean(-1, keepdims=True)
    normal = (centred / jnp.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5)).reshape(h.shape)
    return normal * p[f"{name}.weight"][:, None, None] + p[f"{name}.bias"][:, None, None]


def residual(p: Params, x: Array, mean: Array, variance: Array) -> Array:
    h = jax.nn.relu(group_norm(p, "group", convolution(p, "first", x), 2))
    inner = convolution(p, "conv1", h, stride=2)
    scale = p["batch.weight"] / jnp.sqrt(variance + 1e-5)
    inner = jax.nn.relu((inner - mean[:, None, None]) * scale[:, None, None] + p["batch.bias"][:, None, None])
    h = convolution(p, "conv2", inner) + convolution(p, "shortcut", h, stride=2, padding=0)
    return linear(p, "readout", jnp.tanh(h).mean((2, 3)))


def recurrent(p: Params, x: Array) -> Array:
    def cell(h: Array, now: Array) -> tuple[Array, None]:
        return jnp.tanh(linear(p, "inward", now) + linear(p, "again", h)), None

    start = jnp.zeros((x.shape[0], p["again.weight"].shape[0]), x.dtype)
    last, _ = jax.lax.scan(cell, start, x.swapaxes(0, 1))
    return linear(p, "readout", last)[:, 0]
