"""Name tables from other people's weights to the variables here; no I/O."""
