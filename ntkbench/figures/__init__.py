"""Figures, one per claim. The only place that imports matplotlib and seaborn."""

from ntkbench.figures.claim import compose, draw_claim

__all__ = ["compose", "draw_claim"]
