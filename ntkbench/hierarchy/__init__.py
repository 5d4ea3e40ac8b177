"""The truncated Neural Tangent Hierarchy: as an ordinary differential equation, and as a predictor of training.

`right_hand_side` and `runge_kutta_step` serve numpy, torch and jax arrays alike: only operators and methods that the three
array types share are used, nothing is changed in place, and no value is looked at, so that a compiler can trace both.
`predict_training` asks a backend for kernels and integrates on the host; `first_order_outputs` is training to first order in
1/width in closed form.
"""

from ntkbench.hierarchy.first_order import first_order_outputs
from ntkbench.hierarchy.integrate import runge_kutta_step
from ntkbench.hierarchy.prediction import HorizonWarning, Prediction, predict_training
from ntkbench.hierarchy.truncated import right_hand_side

__all__ = ["HorizonWarning", "Prediction", "first_order_outputs", "predict_training", "right_hand_side", "runge_kutta_step"]
