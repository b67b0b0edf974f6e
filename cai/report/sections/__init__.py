"""The sections of the report, each from what the run folder holds."""
