"""What computing costs: counted, foretold before a run, and measured beside the bare matrix products."""
