"""Claims of the family convergence."""
