"""Claims of the family constancy."""
