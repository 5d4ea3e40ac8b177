"""Claims of the family gap."""
