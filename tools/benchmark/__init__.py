"""How fast things run, against the machine's own limit: `python -m tools.benchmark`."""
