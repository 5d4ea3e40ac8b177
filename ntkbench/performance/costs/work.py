"""Amounts of work, and how they add up."""

from collections.abc import Iterable
from dataclasses import dataclass, fields

from ntkbench.performance import workloads


@dataclass(frozen=True)
class Work:
    """Amounts of each kind of work.

    Attributes:
        flops: of matrix products. products: matrix products, each of a batch counted.
        entries: numbers read or written. windows: laid out anew for a product. evaluations: of transcendental functions.
        operations: calls of an array operation. program: operations in programs that are compiled anew.
        draws: standard normals. turns: of plain Python.
    """

    flops: float = 0.0
    products: float = 0.0
    entries: float = 0.0
    windows: float = 0.0
    evaluations: float = 0.0
    operations: float = 0.0
    program: float = 0.0
    draws: float = 0.0
    turns: float = 0.0

    def __add__(self, other: "Work") -> "Work":
        return Work(**{f.name: getattr(self, f.name) + getattr(other, f.name) for f in fields(self)})

    def times(self, factor: float, programs: float = 1.0) -> "Work":
        """So often; what is compiled is compiled `programs` times."""
        kept = {"program": self.program * programs}
        return Work(**{f.name: getattr(self, f.name) * factor for f in fields(self)} | kept)


@dataclass(frozen=True)
class Load:
    """The work of a call, how it is split among seeds, and what it holds in memory.

    Attributes:
        work: of all seeds.
        seeds: that a call may split into blocks. held: numbers held at a time by one of them.
        given: numbers of arguments, returned: of results, all seeds; float64 in numpy.
    """

    work: Work
    seeds: int
    held: float
    given: float = 0.0
    returned: float = 0.0


def products(found: Iterable[workloads.Product]) -> Work:
    """Of matrix products."""
    found = list(found)
    return Work(
        flops=workloads.flops(found),
        products=sum(count for count, *_ in found),
        entries=workloads.entries(found),
        operations=len(found),
        program=len(found),
    )


def elementwise(entries: float, passes: float, evaluations: float = 0.0, operations: float = 0.0) -> Work:
    """Of `passes` over an array, evaluating transcendental functions at each entry."""
    return Work(entries=entries * passes, evaluations=entries * evaluations, operations=operations, program=operations)
