"""Studies: one file per claim of the field."""
