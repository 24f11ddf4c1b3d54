"""The definitions: plain float64 NumPy, one loop per batch item."""
