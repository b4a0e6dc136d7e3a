"""Flags that are fields of frozen dataclasses; `config.py` makes the parsers of them."""
