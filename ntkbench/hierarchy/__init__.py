"""The truncated Neural Tangent Hierarchy as an ordinary differential equation, for numpy, torch and jax arrays alike.

Only operators and methods that the three array types share are used, nothing is changed in place, and no value is looked
at: both functions can be traced by a compiler. Axes: S seeds, n training points.
"""

from ntkbench.hierarchy.integrate import runge_kutta_step
from ntkbench.hierarchy.truncated import right_hand_side

__all__ = ["right_hand_side", "runge_kutta_step"]
