"""Votes in and out of other tools' files: one file per format, every row accounted for."""
