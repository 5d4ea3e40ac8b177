"""Where the tests compute: on the CPU, or on what NTKBENCH_TEST_DEVICE names (`make test-gpu`)."""

import os

DEVICE = os.environ.get("NTKBENCH_TEST_DEVICE", "cpu")
