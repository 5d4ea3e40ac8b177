"""What the modules of a model see and answer, and the gradients of their own parameters that follow.

A parameter's gradient is the sum over the calls of its modules of a function of two things per call: what the module was given,
and the signal, the derivative of the output with respect to what the module returned. One forward pass records the first,
one backward pass per output gives the second, for all examples at once. Parameters that are used in other ways (by another
module's code, through a call that does not keep the examples apart) are not had this way, which `routes.py` finds out by
comparison with automatic differentiation of single examples.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn
from torch.autograd.graph import GradientEdge, get_gradient_edge
from torch.func import functional_call, vjp, vmap
from torch.nn import functional

from ntkbench.backends.torch.any_model.function import Function, refuse_infinite
from ntkbench.backends.torch.any_model.per_example import Gradient, Outer, Tensor, total


@dataclass(frozen=True)
class Call:
    """One call of a module without children.

    Attributes:
        arguments: tensors; None for a call of another form, which cannot be used.
        output: where in the graph the returned tensor is, before whatever overwrites it.
        signals: one tensor per output of the model, shaped as what the module returned; None before `answered`.
    """

    module: nn.Module
    arguments: tuple[Tensor, ...] | None
    output: GradientEdge | None = None
    signals: tuple[Tensor, ...] | None = None

    def keeps_apart(self, examples: int) -> bool:
        """Whether the leading axes may count examples."""
        tensors = [*(self.arguments or ()), *(self.signals or ())]
        return self.arguments is not None and all(t.ndim > 0 and len(t) == examples for t in tensors)


@contextmanager
def recorded(module: nn.Module) -> Iterator[list[Call]]:
    """The calls, while the context lasts, of modules that have parameters and no children."""
    calls: list[Call] = []

    def note(child: nn.Module, arguments: tuple[object, ...], options: dict[str, object], returned: object) -> None:
        tensors = tuple(a.detach() for a in arguments if isinstance(a, Tensor))
        usable = isinstance(returned, Tensor) and 0 < len(tensors) == len(arguments) and not options
        if not usable:
            calls.append(Call(child, None))
        elif isinstance(returned, Tensor) and returned.requires_grad:
            calls.append(Call(child, tensors, get_gradient_edge(returned)))

    children = [m for m in module.modules() if not any(m.children()) and any(True for _ in m.parameters(recurse=False))]
    hooks = [child.register_forward_hook(note, with_kwargs=True) for child in children]
    try:
        yield calls
    finally:
        for hook in hooks:
            hook.remove()


def answered(calls: list[Call], f: Tensor, cotangents: Tensor) -> list[Call]:
    """The calls with their signals; a call that does not influence the outputs is dropped.

    Args:
        f: (n, O); cotangents: (B, O), whose products with f are differentiated.
    """
    usable = [call for call in calls if call.output is not None]
    edges = [call.output for call in usable if call.output is not None]
    if not edges or not f.requires_grad:
        return [call for call in calls if call.output is None]
    passes = [
        torch.autograd.grad(f, edges, v.expand_as(f), retain_graph=k + 1 < len(cotangents), allow_unused=True)
        for k, v in enumerate(cotangents)
    ]
    found = [call for call in calls if call.output is None]
    for call, signals in zip(usable, zip(*passes, strict=True), strict=True):
        if any(signal is not None for signal in signals):
            zero = next(torch.zeros_like(signal) for signal in signals if signal is not None)
            found.append(Call(call.module, call.arguments, None, tuple(zero if s is None else s for s in signals)))
    return found


Use = tuple[Call, str]
"""A call, and the name that the parameter has in the module called."""


@torch.enable_grad()
def uses(function: Function, x: Tensor, cotangents: Tensor) -> dict[str, list[Use]]:
    """By parameter, its uses in a pass of the examples; parameters that no recorded call uses are left out."""
    module = function.module
    if module is None:
        return {}
    names = {id(parameter): name for name, parameter in module.named_parameters()}
    own = {child: {local: names[id(p)] for local, p in child.named_parameters(recurse=False)} for child in module.modules()}
    with recorded(module) as calls:
        f = function({}, x)
    refuse_infinite(f)
    found: dict[str, list[Use]] = {}
    for call in answered(calls, f, cotangents):
        for local, name in own[call.module].items():
            if name in function.params:
                found.setdefault(name, []).append((call, local))
    return found


def gradient(uses: Sequence[Use], examples: int, together: bool) -> Gradient:
    """The gradient of a parameter from its uses.

    Args:
        together: whether the outputs are only wanted summed: their signals then stand side by side as of one output, since
            `sum_o <G_o, G'_o>` is the inner product of the gradients in a row.

    Raises:
        ValueError: if a call does not keep the examples apart.
    """
    for call, _ in uses:
        if not call.keeps_apart(examples):
            raise ValueError(
                f"a {type(call.module).__name__} mixes the examples of some batches: give the model as a function, with "
                "lambda p, x: torch.func.functional_call(model, p, (x,)) and params=dict(model.named_parameters())"
            )
    return total([_RULES.get(type(call.module), _by_vjp)(call, name, together) for call, name in uses])


def _rows(call: Call, together: bool, channels_first: bool = False) -> Tensor:
    """The signals as (n, O, T, out)."""
    rows = []
    for signal in call.signals or ():
        flat = signal.reshape(len(signal), signal.shape[1], -1).mT if channels_first else signal
        rows.append(flat.reshape(len(signal), -1, flat.shape[-1]))
    return torch.cat(rows, -1).unsqueeze(1) if together else torch.stack(rows, 1)


def _linear(call: Call, name: str, together: bool) -> Gradient:
    signals = _rows(call, together)
    if name == "bias":
        return signals.sum(2)
    (a,) = call.arguments or ()
    return Outer(a.reshape(len(a), -1, a.shape[-1]), signals, a.shape[-1])


def _convolution(call: Call, name: str, together: bool) -> Gradient:
    module = call.module
    if not isinstance(module, nn.Conv1d | nn.Conv2d) or (module.groups > 1 and name != "bias"):
        return _by_vjp(call, name, together)
    signals = _rows(call, together, channels_first=True)
    if name == "bias":
        return signals.sum(2)
    (a,) = call.arguments or ()
    patches = _patches(module, a)
    return Outer(patches, signals, patches.shape[-1])


def _patches(module: nn.Conv1d | nn.Conv2d, a: Tensor) -> Tensor:
    """What the window sees at each output position, (n, T, channels * window)."""
    sides: list[int] = []
    for axis, (size, dilation) in enumerate(zip(module.kernel_size, module.dilation, strict=True)):
        if isinstance(module.padding, str):
            whole = dilation * (size - 1) if module.padding == "same" else 0
            before, after = whole // 2, whole - whole // 2
        else:
            before = after = module.padding[axis]
        sides = [before, after, *sides]  # `pad` counts axes from the last
    padded = functional.pad(a, sides, mode="constant" if module.padding_mode == "zeros" else module.padding_mode)
    if isinstance(module, nn.Conv2d):
        return functional.unfold(padded, module.kernel_size, module.dilation, 0, module.stride).mT
    window, dilations, stride = (1, *module.kernel_size), (1, *module.dilation), (1, *module.stride)
    return functional.unfold(padded.unsqueeze(2), window, dilations, 0, stride).mT


def _embedding(call: Call, name: str, together: bool) -> Gradient:
    module = call.module
    if not isinstance(module, nn.Embedding):
        return _by_vjp(call, name, together)
    (places,) = call.arguments or ()
    places = places.reshape(len(places), -1)
    signals = _rows(call, together)
    if module.padding_idx is not None:
        signals = signals * (places != module.padding_idx).view(len(places), 1, -1, 1)
    return Outer(places, signals, module.num_embeddings)


def _by_vjp(call: Call, name: str, together: bool) -> Gradient:
    """By automatic differentiation of the module alone, example by example."""
    weight = getattr(call.module, name).detach()

    def of_one_example(arguments: tuple[Tensor, ...], signals: Tensor) -> Tensor:
        given = tuple(a.unsqueeze(0) for a in arguments)
        _, pull, *_ = vjp(lambda w: functional_call(call.module, {name: w}, given), weight)
        found: Tensor = vmap(lambda signal: pull(signal.unsqueeze(0))[0])(signals)
        return found

    found: Tensor = vmap(of_one_example, (0, 1))(call.arguments or (), torch.stack(call.signals or ()))
    rows = found.reshape(*found.shape[:2], -1)
    return rows.flatten(1).unsqueeze(1) if together else rows


_RULES: dict[type[nn.Module], Callable[[Call, str, bool], Gradient]] = {
    nn.Linear: _linear,
    nn.Conv1d: _convolution,
    nn.Conv2d: _convolution,
    nn.Embedding: _embedding,
}
"""By exact type, since a subclass may compute something else."""
