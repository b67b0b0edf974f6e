"""The voting page of a run, and the log of what people said on it."""
