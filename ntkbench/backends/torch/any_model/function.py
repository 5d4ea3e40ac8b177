"""A torch model as a function of its parameters, and automatic differentiation of its single examples."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import torch
from torch import nn
from torch.autograd.graph import saved_tensors_hooks
from torch.func import functional_call, jacrev, vmap

Tensor = torch.Tensor
Tensors = dict[str, Tensor]


class Function:
    """Outputs (n, O) of a batch of examples, as a function of the parameters that are differentiated.

    Attributes:
        params: the parameters, on storage of the model's own.
        module: the model if it is a module.
    """

    def __init__(self, model: nn.Module | Callable[[Tensors, Tensor], Tensor], params: Mapping[str, Tensor] | None):
        self._call: Callable[[Tensors, Tensor], Tensor]
        self.module = model if isinstance(model, nn.Module) and params is None else None
        if self.module is not None:
            _refuse_training_mode(self.module)
            self._held: Tensors = dict(self.module.named_parameters())
            given: Tensors = {name: p for name, p in self._held.items() if p.requires_grad}
            # Copies, since a forward pass may write to buffers.
            self._fixed = {name: buffer.detach().clone() for name, buffer in self.module.named_buffers()}
            self._call = partial(_call_module, self.module)
        elif params is None:
            raise ValueError(f"model is a {type(model).__name__}: give an nn.Module, or a function f(params, x) and params=")
        else:
            self._held = _named_tensors(params)
            given = {name: p for name, p in self._held.items() if p.is_floating_point() or p.is_complex()}
            self._fixed = {name: p for name, p in self._held.items() if name not in given or p.numel() == 0}
            self._call = model
        if named := [name for name, p in given.items() if p.is_complex()]:
            raise ValueError(f"parameters {', '.join(named)} are complex: the NTK is defined for real ones")
        given = {name: p for name, p in given.items() if p.numel() > 0}
        if not given:
            raise ValueError("the model has no parameters to differentiate: floating point, and requiring grad in a module")
        self.params = {name: p.detach().requires_grad_() for name, p in given.items()}

    def __call__(self, params: Tensors, x: Tensor) -> Tensor:
        """The outputs, (n, O), where `params` take the place of those of the same names."""
        try:
            f = self._call({**self._fixed, **self.params, **params}, x)
        except torch.OutOfMemoryError:
            raise
        except Exception as error:
            raise ValueError(f"the model failed on {len(x)} of the examples, {self._described(x)}: {error}") from error
        if not isinstance(f, Tensor) or f.ndim == 0 or len(f) != len(x):
            found = f"shape {tuple(f.shape)}" if isinstance(f, Tensor) else type(f).__name__
            raise ValueError(f"the model gives {found} for {len(x)} examples: give a tensor, (n,) or (n, ...)")
        if not f.is_floating_point():
            raise ValueError(f"the model's outputs have dtype {f.dtype}: the NTK is defined for real, floating-point ones")
        if f.numel() == 0:
            raise ValueError(f"the model gives shape {tuple(f.shape)}, no output at all: there is nothing to differentiate")
        return f.reshape(len(x), -1)

    def _described(self, x: Tensor) -> str:
        dtypes = {p.dtype for p in self.params.values()}
        said = f"shape {tuple(x.shape)} and dtype {x.dtype}"
        if not x.is_floating_point() or x.dtype in dtypes:
            return said
        return f"{said} (give them in that of the parameters, {', '.join(sorted(map(str, dtypes)))})"

    def refuse_changes(self, x: Tensor) -> None:
        """ValueError if a call changes parameters, which are put back; by value, as changes of `.data` are not counted."""
        before = {name: p.detach().clone() for name, p in self._held.items()}
        self({}, x)
        changed = [name for name, p in self._held.items() if not ((p == before[name]) | before[name].isnan()).all()]
        for name in changed:
            self._held[name].detach().copy_(before[name])
        if changed:
            raise ValueError(
                f"the model changes its parameters {', '.join(changed)} when called: keep them as they are in forward"
            )


def _named_tensors(params: object) -> Tensors:
    if not isinstance(params, Mapping):
        raise ValueError(f"params is a {type(params).__name__}: give a mapping of names to tensors")
    for name, p in params.items():
        if not isinstance(p, Tensor):
            raise ValueError(f"params[{name!r}] is a {type(p).__name__}: give tensors, and close over everything else")
    return dict(params)


def _call_module(module: nn.Module, state: Tensors, x: Tensor) -> Tensor:
    found: Tensor = functional_call(module, state, (x,))
    return found


_DROPOUT = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout)
_BATCH_NORM = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)


def _refuse_training_mode(model: nn.Module) -> None:
    for name, module in model.named_modules():
        what = f"{type(module).__name__} {name!r}"
        if isinstance(module, _DROPOUT) and module.training and module.p > 0:
            raise ValueError(f"{what} is random in training mode: call model.eval() first")
        if isinstance(module, _BATCH_NORM) and module.running_mean is None:
            raise ValueError(f"{what} makes examples interact, it normalizes by their batch: let it track running statistics")
        if isinstance(module, _BATCH_NORM) and module.training:
            raise ValueError(f"{what} makes examples interact in training mode: call model.eval() first")


def refuse_infinite_gradients(values: Tensor) -> None:
    """ValueError if gradients are not finite."""
    if not values.isfinite().all():
        raise ValueError(
            "the gradients of the outputs are not finite: the model is not differentiable at these examples, or they overflow "
            f"{values.dtype}"
        )


def refuse_infinite(f: Tensor) -> None:
    """ValueError if outputs are not finite."""
    if not f.isfinite().all():
        raise ValueError("the model's outputs are not finite")


@torch.enable_grad()
def one_by_one(function: Function, names: Sequence[str], x: Tensor, cotangents: Tensor) -> Tensors:
    """Gradients of the products of outputs with `cotangents` (B, O), of single examples: (n, B, P) by parameter."""
    chosen = [function.params[name] for name in names]
    found: dict[str, list[Tensor]] = {name: [] for name in names}
    for example in x.unsqueeze(1):
        f = function({}, example)
        refuse_infinite(f)
        for v in cotangents:
            passed = (
                torch.autograd.grad(f, chosen, v.expand_as(f), retain_graph=True, allow_unused=True)
                if f.requires_grad
                else [None] * len(names)
            )
            for name, gradient in zip(names, passed, strict=True):
                full = torch.zeros_like(function.params[name]) if gradient is None else gradient.to_dense()
                found[name].append(full.reshape(-1))
    return {name: torch.stack(rows).view(len(x), len(cotangents), -1) for name, rows in found.items()}


def all_at_once(function: Function, names: Sequence[str], x: Tensor, cotangents: Tensor) -> Tensors:
    """As `one_by_one`, in one vectorized pass; RuntimeError where the model does not allow it."""

    def products(params: Tensors, example: Tensor) -> tuple[Tensor, Tensor]:
        f = function(params, example.unsqueeze(0))[0]
        return cotangents @ f, f

    chosen = {name: function.params[name].detach() for name in names}
    found, f = vmap(jacrev(products, has_aux=True), (None, 0))(chosen, x)
    refuse_infinite(f)
    return {name: gradient.reshape(*gradient.shape[:2], -1) for name, gradient in found.items()}


def agree(found: Tensor, expected: Tensor, largest: float) -> bool:
    """Whether gradients are equal to half of their digits, rounding of the model's `largest` gradient entry left aside."""
    rounding = torch.finfo(expected.dtype).eps
    allowed = rounding**0.5 * expected.abs().max() + 100 * rounding * largest
    return found.shape == expected.shape and bool((found - expected).abs().max() <= allowed)


@torch.enable_grad()
def saved_bytes(function: Function, x: Tensor) -> int:
    """What a forward pass of these examples keeps for the backward pass, parameters left aside."""
    seen: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        seen[storage.data_ptr()] = storage.nbytes()
        return tensor

    with saved_tensors_hooks(note, lambda tensor: tensor):
        kept = function({}, x)
    own = {p.untyped_storage().data_ptr() for p in function.params.values()}
    return kept.nbytes + sum(size for place, size in seen.items() if place not in own)
