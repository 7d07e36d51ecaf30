"""Measurements against the database's own limit and against peers: ratios taken in one run, on one machine."""
