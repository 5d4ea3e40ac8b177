"""Store what is due of the canary, a new results version or a new part: `make canary`."""

import sys
import tempfile
from pathlib import Path

from ntkbench.provenance import RESULTS_VERSION
from tests.canary.rule import Refused, renew
from tests.canary.study import HERE, run

if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        try:
            parts = renew(lambda part: run(Path(folder, part), part), RESULTS_VERSION)
        except Refused as error:
            sys.exit(str(error))
    print(f"{HERE} holds results version {RESULTS_VERSION}; stored: {', '.join(parts)}")
