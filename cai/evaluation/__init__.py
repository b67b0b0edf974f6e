"""Suites that score a model's answers; one file each, over the same statistics."""
