"""neural-tangents at its best, in its own environment: `python neural_tangents_worker.py INPUTS KERNEL THREADS`.

INPUTS is an npz with points `x` and weights `W1`.. of shape (fan_in, fan_out) for a tanh network without biases. Writes its
kernel to KERNEL, says `ready`, and from then on answers each line of input with the seconds of one call.
"""

import os
import sys
import time
import types
from pathlib import Path

_, inputs, kernel_file, threads = sys.argv
# jax of this age takes as many threads as it may use CPUs when it starts.
everything = os.sched_getaffinity(0)
os.sched_setaffinity(0, sorted(everything)[: int(threads)])
# The only part of neural-tangents that needs tensorflow.
sys.modules["neural_tangents.experimental"] = types.ModuleType("neural_tangents.experimental")

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import neural_tangents as nt  # noqa: E402
import numpy as np  # noqa: E402

jax.config.update("jax_enable_x64", True)
jax.devices()
for task in Path("/proc/self/task").iterdir():
    os.sched_setaffinity(int(task.name), everything)


def f(weights: list[jax.Array], h: jax.Array) -> jax.Array:
    """Written as `h @ W`: with any other product the structured derivatives fall back to a hundredfold slower contraction."""
    for l, weight in enumerate(weights):
        h = (jnp.tanh(h) if l else h) @ weight / weight.shape[0] ** 0.5
    return h


arrays = np.load(inputs)
x, weights = jnp.asarray(arrays["x"]), [jnp.asarray(arrays[f"W{l}"]) for l in range(1, len(arrays.files))]
structured = nt.NtkImplementation.STRUCTURED_DERIVATIVES
ntk = jax.jit(nt.empirical_ntk_fn(f, trace_axes=(), vmap_axes=0, implementation=structured))
np.save(kernel_file, np.asarray(ntk(x, None, weights))[..., 0, 0])
print("ready", flush=True)
for _ in sys.stdin:
    start = time.perf_counter()
    ntk(x, None, weights).block_until_ready()
    print(time.perf_counter() - start, flush=True)
