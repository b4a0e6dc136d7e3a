"""Command-line tools, run from the checkout as `python -m tools.<name>`."""
