"""The empirical NTK of a batch of networks."""

from ntkbench.backends.torch.architectures import architecture
from ntkbench.backends.torch.network import Tensor, Tensors, combine_copies
from ntkbench.backends.torch.tiles import mirror
from ntkbench.networks import Network


def kernel(net: Network, theta: Tensors, x1: Tensor, x2: Tensor | None, outputs: str, workspace: int) -> Tensor:
    """`K2 = sum_c copy_weights[c]^2 K2_c`, K2_c the kernel of a copy times the mobility.

    Args:
        x1: (B, n1, d); x2: (B, n2, d), None for `x1`.
        outputs: `one`, `trace` or `full`.
        workspace: bytes for what is there only to be blocked, besides activations, signals and the kernel.

    Returns:
        (S, n1, n2), and (S, n1, n2, O, O) for `full`.
    """
    groups = net.output_dim if outputs == "full" else 1
    rows1, rows2 = x1.shape[1], (x1 if x2 is None else x2).shape[1]
    total = x1.new_empty(x1.shape[0], groups, rows1, groups, rows2)
    architecture(net).write_kernels(net, theta, x1, x2, total, workspace)
    if x2 is None:
        mirror(total)
    found = combine_copies(net, total, power=2).permute(0, 2, 4, 1, 3)
    return found if outputs == "full" else found[..., 0, 0]


def bytes_per_seed(net: Network, rows1: int, rows2: int, outputs: str, itemsize: int) -> int:
    """Temporaries of `kernel` for one seed, its parameters counted, blocked ones not."""
    groups, of = net.output_dim if outputs == "full" else 1, architecture(net)
    held = (rows1 + rows2) * of.floats_per_point(net, arrays=3 + net.output_dim)
    held += of.floats_besides(net, rows1, rows2, groups)
    return itemsize * (net.parameter_count + held + 3 * net.copies * rows1 * rows2 * groups**2)
