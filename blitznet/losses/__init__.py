"""Losses: each function returns unweighted scalars in a dict of `blitznet.keys`."""
