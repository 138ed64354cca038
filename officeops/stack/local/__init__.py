"""The embedded stack: for a machine with nothing but Python. Servers come from wheels, supervisor keeps them up."""
