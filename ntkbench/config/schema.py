"""JSON Schema of a study file."""

from typing import Any

from pydantic import TypeAdapter

from ntkbench import claims
from ntkbench.config.cases import NAME
from ntkbench.config.study import StudyFile


def json_schema() -> dict[str, Any]:
    """JSON Schema of a study file, for editors; the checks across fields are in `load` alone."""
    schema = StudyFile.model_json_schema()
    definitions: dict[str, Any] = {}
    sections: dict[str, Any] = {}
    for id_, claim in claims.all_claims().items():
        case = TypeAdapter(claim.case_type).json_schema()
        definitions |= case.pop("$defs", {})
        partial = {"type": "object", "additionalProperties": False, "properties": case["properties"]}
        for value in partial["properties"].values():
            value.pop("default", None)
        sections[id_] = {
            "type": "object",
            "description": claim.statement,
            "additionalProperties": False,
            "required": ["cases"],
            "properties": {
                "defaults": partial,
                "cases": {
                    "type": "object",
                    "minProperties": 1,
                    "additionalProperties": False,
                    "patternProperties": {f"^{NAME.pattern}$": partial},
                },
            },
        }
    definitions |= {name: found for name, found in schema.pop("$defs").items() if name != "ClaimSection"}
    schema["properties"]["claims"] = {
        "type": "object",
        "minProperties": 1,
        "additionalProperties": False,
        "properties": sections,
    }
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "Study of ntkbench"}
    return {**schema, **head} | ({"$defs": definitions} if definitions else {})
