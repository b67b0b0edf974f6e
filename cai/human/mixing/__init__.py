"""Votes and AI labels as one training set: aggregation, conflicts, recalibration, routing."""
