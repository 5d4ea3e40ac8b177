"""Store the canary of a new results version: `make canary`."""

import sys
import tempfile
from pathlib import Path

from ntkbench.provenance import RESULTS_VERSION
from tests.canary.rule import Refused, renew
from tests.canary.study import STORED, run

if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        try:
            renew(run(Path(folder)), RESULTS_VERSION)
        except Refused as error:
            sys.exit(str(error))
    print(f"{STORED} holds results version {RESULTS_VERSION}")
