"""Thin commands, and what a terminal shows."""
