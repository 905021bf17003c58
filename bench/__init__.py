"""Measurements. Nothing here is a test: machines are shared and noisy, so only ratios within one run are worth quoting."""
