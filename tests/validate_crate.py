"""Validate a crate with no network: `build/crate-validator/bin/python tests/validate_crate.py FOLDER [options]`.

The validator (roc-validator) loads RO-Crate's JSON-LD context from w3id.org, or from its cache. The context that the package
rocrate 0.14 brings is put into a cache first; it is the one of RO-Crate 1.1.
"""

import io
import json
import subprocess
import sys
import tempfile
from importlib.resources import files
from pathlib import Path

from requests import PreparedRequest, Response
from requests.adapters import HTTPAdapter
from requests_cache import CachedSession
from urllib3 import HTTPResponse

CONTEXT = "https://w3id.org/ro/crate/1.1/context"
PROFILE = "workflow-run-crate"


class Packaged(HTTPAdapter):
    """Answers with the context that is installed."""

    def send(self, request: PreparedRequest, **settings: object) -> Response:
        text = files("rocrate").joinpath("data", "ro-crate.jsonld").read_bytes()
        if json.loads(text)["@id"] != CONTEXT:
            raise ValueError(f"the installed rocrate brings another context than {CONTEXT}: install requirements/crate.txt")
        kind = {"Content-Type": "application/ld+json"}
        found = HTTPResponse(io.BytesIO(text), headers=kind, status=200, preload_content=False, request_url=CONTEXT)
        return self.build_response(request, found)


def main(crate: str, *options: str) -> int:
    """The validator's exit code: 0 if nothing that the profile requires is missing."""
    with tempfile.TemporaryDirectory() as folder:
        cache = Path(folder) / "cache"
        with CachedSession(cache_name=str(cache), backend="sqlite", expire_after=-1) as session:
            session.mount(CONTEXT, Packaged())
            session.get(CONTEXT)
        validator = Path(sys.executable).with_name("rocrate-validator")
        asked = ["--offline", "--cache-path", str(cache), "--profile-identifier", PROFILE, "--no-paging", *options]
        return subprocess.run([validator, "-y", "--disable-color", "validate", *asked, crate], check=False).returncode


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
