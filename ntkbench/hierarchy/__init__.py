"""The truncated Neural Tangent Hierarchy: as an ordinary differential equation, and as a predictor of training.

`right_hand_side` and `runge_kutta_step` serve numpy, torch and jax arrays alike: only operators and methods that the three
array types share are used, nothing is changed in place, and no value is looked at, so that a compiler can trace both.
`predict_training` asks a backend for kernels and integrates on the host.
"""

from ntkbench.hierarchy.integrate import runge_kutta_step
from ntkbench.hierarchy.prediction import Prediction, predict_training
from ntkbench.hierarchy.truncated import right_hand_side

__all__ = ["Prediction", "predict_training", "right_hand_side", "runge_kutta_step"]
