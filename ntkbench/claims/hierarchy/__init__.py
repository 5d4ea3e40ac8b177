"""Claims of the family hierarchy."""
