"""The hot loops in Numba: for a user's own functions, and for installs without the compiled module."""
