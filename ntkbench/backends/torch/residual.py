"""The forward pass of one fully connected residual network."""

from ntkbench.backends.torch.activations import derivatives
from ntkbench.backends.torch.network import Tensor, Tensors, affine_of_one
from ntkbench.networks import Residual


def forward(net: Residual, theta: Tensors, x: Tensor) -> Tensor:
    """Outputs (n, O) at points (n, d)."""
    h = affine_of_one(net, theta, 1, x)
    for l in range(2, net.depth + 2):
        (seen,) = derivatives(net.activation, h, 0)
        step = affine_of_one(net, theta, l, seen)
        h = h + step if l <= net.depth else step
    return h
