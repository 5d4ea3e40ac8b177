"""What the README shows is what the code does."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from ntkbench.claims import all_claims

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
EXAMPLE = re.search(r"<!-- example -->\n```python\n(.*?)```", README, re.S).group(1)


@pytest.mark.parametrize("backend", ["torch", "jax"])
def test_the_example_runs_in_either_backend(backend):
    code = EXAMPLE.replace('load("torch")', f'load("{backend}")')
    result = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert result.returncode == 0, result.stderr
    assert 1e-7 < float(result.stdout) < 1e-3


def test_the_claims_table_is_the_one_that_the_command_prints():
    printed = subprocess.run(
        [sys.executable, "-m", "ntkbench.cli", "claims", "--markdown"], capture_output=True, text=True, check=True, cwd=ROOT
    ).stdout
    shown = re.search(r"<!-- claims: .*? -->\n(.*?)<!-- /claims -->", README, re.S).group(1)
    assert shown.strip() == printed.strip()
    assert all(claim_id in shown for claim_id in all_claims())
