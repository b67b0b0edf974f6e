"""Estimates with their intervals, and how well probabilities predict votes. Pure functions over numbers."""
