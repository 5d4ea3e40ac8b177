"""Which route each parameter takes to the NTK, found by trying two examples."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch

from ntkbench.backends.torch.any_model import modules
from ntkbench.backends.torch.any_model.function import (
    Function,
    Tensor,
    Tensors,
    agree,
    all_at_once,
    one_by_one,
    refuse_infinite,
    refuse_infinite_gradients,
    saved_bytes,
)
from ntkbench.backends.torch.any_model.per_example import Gradient, Outer, dense

Gradients = Callable[[str], Gradient | None]
"""The gradient of the parameter of that name, made when it is asked for; None for zero."""


@dataclass(frozen=True)
class Part:
    """Parameters whose gradients are had together.

    Attributes:
        gram: by parameter, whether it is contracted by Gram matrices.
        gradients: of examples and cotangents (B, O).
        fixed, per_output: bytes held per example, and per example and output.
    """

    gram: Mapping[str, bool]
    gradients: Callable[[Tensor, Tensor], Gradients]
    fixed: int
    per_output: int


class Probe:
    """What two examples tell of a function: its outputs, whether it has an NTK, and which routes its parameters may take.

    Attributes:
        f: outputs of the two, (2, O).
        outputs: O.

    Raises:
        ValueError: for a function that is random, changes its parameters, in which examples interact, or whose outputs are
            not finite.
    """

    @torch.enable_grad()
    def __init__(self, function: Function, pair: Tensor):
        self.function, self.pair = function, pair
        function.refuse_changes(pair)
        self.f = function({}, pair)
        self.outputs = self.f.shape[1]
        self._refuse_unfit_outputs()
        # Irregular weights, so that errors of several outputs do not cancel.
        self._cotangent = torch.arange(1, self.outputs + 1, device=self.f.device, dtype=self.f.dtype).cos().unsqueeze(0)
        self._exact = one_by_one(function, list(function.params), pair, self._cotangent)
        for gradient in self._exact.values():
            refuse_infinite_gradients(gradient)
        self._largest = max(float(gradient.abs().max()) for gradient in self._exact.values())
        self._refuse_interaction()
        self.f = self.f.detach()
        self._saved = saved_bytes(function, pair) // 2
        self._itemsize = self.f.element_size()

    def _refuse_unfit_outputs(self) -> None:
        refuse_infinite(self.f)
        again = self.function({}, self.pair)
        if not (again - self.f).abs().max() <= 1e-3 * self.f.abs().max():
            raise ValueError(
                "the model is random, two evaluations of the same examples differ: call model.eval(), or fix its noise"
            )

    def _refuse_interaction(self) -> None:
        """Either example may be the one that sees the other, the later of two time steps, say, and in one order only."""
        turned = self.function({}, self.pair.flip(0))
        for i, f in ((0, self.f[0]), (1, self.f[1]), (0, turned[1]), (1, turned[0])):
            combined = f @ self._cotangent[0]
            if not combined.requires_grad:
                return
            together = torch.autograd.grad(combined, list(self.function.params.values()), retain_graph=True, allow_unused=True)
            for (name, exact), gradient in zip(self._exact.items(), together, strict=True):
                found = torch.zeros_like(exact[i, 0]) if gradient is None else gradient.to_dense().flatten()
                if not agree(found, exact[i, 0], self._largest):
                    raise ValueError(
                        f"examples interact: the gradient of one example's outputs with respect to {name} changes when another "
                        "joins its batch; call model.eval(), take the interaction out, or see that the leading axis counts "
                        "examples (batch_first=True for recurrent and attention modules)"
                    )

    def parts(self, rows1: int, rows2: int, together: bool, share: int) -> Iterator[Part]:
        """All parameters, first those that go layer by layer, then groups of the others.

        Args:
            rows1, rows2: sides of the kernel.
            together: whether outputs are summed.
            share: bytes that one output of one example may hold, where a group has more than one parameter.
        """
        layered = self.layered(rows1, rows2, together) if self.function.module is not None else None
        if layered is not None and layered.gram:
            yield layered
        rest = [name for name in self.function.params if layered is None or name not in layered.gram]
        differentiate = self._differentiator(rest) if rest else one_by_one
        for names in self._groups(rest, share - 2 * self._saved):

            def gradients(x: Tensor, cotangents: Tensor, names: Sequence[str] = names) -> Gradients:
                found = differentiate(self.function, names, x, cotangents)
                return {name: g.flatten(1).unsqueeze(1) if together else g for name, g in found.items()}.get

            entries = sum(self.function.params[name].numel() for name in names)
            yield Part(dict.fromkeys(names, False), gradients, self._saved, self._saved + self._itemsize * entries)

    def _groups(self, names: Sequence[str], limit: int) -> list[list[str]]:
        groups: list[list[str]] = []
        held = 0
        for name in names:
            size = self._itemsize * self.function.params[name].numel()
            if not groups or held + size > limit:
                groups.append([])
                held = 0
            groups[-1].append(name)
            held += size
        return groups

    def _differentiator(self, names: Sequence[str]) -> Callable[[Function, Sequence[str], Tensor, Tensor], Tensors]:
        """`all_at_once` where the model allows it."""
        try:
            found = all_at_once(self.function, names, self.pair, self._cotangent)
        except (RuntimeError, ValueError):
            return one_by_one
        return all_at_once if all(agree(found[n], self._exact[n], self._largest) for n in names) else one_by_one

    def layered(self, rows1: int, rows2: int, together: bool) -> Part:
        """The parameters whose gradients follow from their modules' inputs and signals."""
        # In both orders: a model that sorts its batch keeps examples in place where they are sorted already.
        uses, turned = (modules.uses(self.function, x, self._cotangent) for x in (self.pair, self.pair.flip(0)))
        gram: dict[str, bool] = {}
        inputs, signals = [0], [0]
        for name, of_parameter in uses.items():
            exact = self._exact[name]
            found = self._attempt(of_parameter, exact)
            if found is None or name not in turned or self._attempt(turned[name], exact.flip(0)) is None:
                continue
            gram[name] = isinstance(found, Outer) and found.by_gram(rows1, rows2, self.outputs, together)
            inputs.append(found.inputs.nbytes if isinstance(found, Outer) else 0)
            entries = 0 if gram[name] else self.function.params[name].numel()
            signals.append((found.signals.nbytes if isinstance(found, Outer) else 0) + 2 * self._itemsize * entries)
        kept = sum(s.nbytes for of_parameter in uses.values() for call, _ in of_parameter for s in call.signals or ())

        def gradients(x: Tensor, cotangents: Tensor) -> Gradients:
            now = modules.uses(self.function, x, cotangents)
            return lambda name: modules.gradient(now[name], len(x), together) if name in now else None

        return Part(gram, gradients, self._saved + max(inputs) // 2, (kept + max(signals)) // 2)

    def _attempt(self, uses: Sequence[modules.Use], exact: Tensor) -> Gradient | None:
        try:
            found = modules.gradient(uses, 2, together=False)
        except (ValueError, RuntimeError):
            return None
        return found if agree(dense(found), exact, self._largest) else None
