"""The configuration of a study: one YAML file, checked as a whole before any job runs.

Every problem of a file is reported at once, each with its key, its value and the mend.
"""

from ntkbench.config.device import check_device, gpu_present
from ntkbench.config.problems import ConfigError
from ntkbench.config.schema import json_schema
from ntkbench.config.study import Study, from_options, load

__all__ = ["ConfigError", "Study", "check_device", "from_options", "gpu_present", "json_schema", "load"]
