"""Rows of any file, prompts, and the tables of a run folder."""
