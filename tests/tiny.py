"""A study of one claim, as small as can be, for tests of the configuration and of the workflow."""

from typing import Any

TINY: dict[str, Any] = {
    "study": "tiny",
    "seed": 20190918,
    "backends": ["torch", "jax"],
    "device": "cpu",
    "memory_gib": 1,
    "claims": {
        "hierarchy/truncation": {
            "defaults": {
                "dataset": "sphere",
                "train_size": 3,
                "input_dim": 4,
                "activation": "tanh",
                "depth": 1,
                "widths": [8, 16, 32],
                "seeds": 4,
                "step": 0.25,
                "times": [0.5, 1.0],
                "integrator": "rk4",
            },
            "cases": {
                "plain": {},
                "shuffled": {"control": "shuffled_top"},
                "mean-field": {"control": "mean_field"},
            },
        }
    },
}
