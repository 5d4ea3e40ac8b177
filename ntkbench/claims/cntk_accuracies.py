"""Published accuracies of regression with convolutional NTKs, as expectations (Arora et al. 2019, Table 1)."""

from collections.abc import Mapping

from ntkbench.verdicts.expectations import Equivalence, Where

POOLED = "_pooled"
"""How the names of arrays and quantities of convolutional networks with global average pooling end."""
PUBLISHED: Mapping[int, Mapping[str, float]] = {
    2: {"": 0.4094, POOLED: 0.4971},
    3: {"": 0.4254, POOLED: 0.5106},
    5: {"": 0.4343, POOLED: 0.5173},
    10: {"": 0.4342, POOLED: 0.5192},
    20: {"": 0.4253, POOLED: 0.5222},
}
"""Convolutions -> test accuracy of CNTK regression on 2,000 images of CIFAR-10 by readout (Arora et al. 2019, Table 1)."""
CITED: Where = {
    "dataset": ("cifar10",),
    "train_size": (2000,),
    "image": ((32, 32, 3),),
    "padding": ("zero",),
    "activation": ("relu",),
    "weight_variance": (2.0,),
    "bias_variance": (0.0,),
}
"""Cases of the setting in which the accuracies of `PUBLISHED` were measured."""
PUBLISHED_MARGIN = 0.015
"""Margin of an accuracy that was published without interval, for an unknown subset of the images: one and a half points."""


def _published(depth: int, ending: str) -> Equivalence:
    column = "CNTK-GAP-2K" if ending else "CNTK-V-2K"
    return Equivalence(
        name=f"published_{depth}{ending}",
        statement=(
            f"On 2,000 images of CIFAR-10 ridgeless CNTK regression, {depth} convolutions {'with' if ending else 'without'} "
            f"pooling, has a test accuracy of {PUBLISHED[depth][ending]:.2%}, to one and a half points."
        ),
        source=f"arora2019exact, Table 1, column {column}",
        quantity=f"accuracy_ridgeless{ending}",
        control="permuted_labels",
        where={**CITED, "depth": (depth,)},
        value=PUBLISHED[depth][ending],
        margin=PUBLISHED_MARGIN,
    )


def published_accuracies() -> tuple[Equivalence, ...]:
    """That those of all depths, with both readouts, come out again in their setting."""
    return tuple(_published(depth, ending) for depth in PUBLISHED for ending in ("", POOLED))
