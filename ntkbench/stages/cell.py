"""One case of one claim in one study, and the records that belong to it."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ntkbench import claims
from ntkbench.claims import Case, Claim
from ntkbench.data import Dataset
from ntkbench.records import Measurement, Record, read_record, unflatten
from ntkbench.stages.dependencies import stage_hash


@dataclass(frozen=True)
class Cell:
    """What is measured.

    Attributes:
        claim, name, case: the claim, the case's name in the study, the case.
        root: the study's seed.
        device, precision: as the study asks for them.
    """

    claim: Claim
    name: str
    case: Case
    root: int
    device: str
    precision: str

    def __str__(self) -> str:
        return f"{self.claim.id} {self.name}"

    @classmethod
    def make(cls, claim: str, name: str, case: Mapping[str, Any], root: int, device: str, precision: str) -> "Cell":
        """From plain values, as the workflow hands them over; `case` as `Case.as_dict` gives it."""
        known = claims.get(claim)
        fields: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in case.items()}
        return cls(known, name, known.case_type(**fields), root, device, precision)

    def identity_of_inputs(self) -> dict[str, Any]:
        """The facts that the record of its inputs must carry."""
        return {
            "kind": "inputs",
            "claim": self.claim.id,
            "case": self.name,
            "config": self._hash(),
            "code": stage_hash("inputs", self.claim.id),
        }

    def identity_of_measurement(self, backend: str, inputs: Record) -> dict[str, Any]:
        """The facts that its measurement by `backend` from `inputs` must carry."""
        return {
            "kind": "measurement",
            "claim": self.claim.id,
            "case": self.name,
            "backend": backend,
            "root": self.root,
            "config": self._hash(self.device, self.precision),
            "code": stage_hash("measure", self.claim.id, backend),
            "inputs": inputs.content,
        }

    def read_inputs(self, path: Path) -> tuple[Dataset, Record]:
        """The data, verified. RecordError as `records.read_record`."""
        record = read_record(path, self.identity_of_inputs())
        return Dataset(**record.arrays), record

    def read_measurement(self, backend: str, inputs: Record, path: Path) -> tuple[Measurement, Record]:
        """The measurement by `backend`, verified. RecordError as `records.read_record`."""
        record = read_record(path, self.identity_of_measurement(backend, inputs))
        return unflatten(record.arrays), record

    def _hash(self, *settings: str) -> str:
        plain = [self.claim.id, self.case.as_dict(), self.root, *settings]
        return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()


def by_claim(cells: Iterable[Cell]) -> dict[str, dict[str, Case]]:
    """Claim id -> case name -> case."""
    grouped: dict[str, dict[str, Case]] = {}
    for cell in cells:
        grouped.setdefault(cell.claim.id, {})[cell.name] = cell.case
    return grouped
