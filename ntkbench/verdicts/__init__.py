"""From quantities to verdicts: expectations, fits with intervals, tests, Holm, verdict."""
