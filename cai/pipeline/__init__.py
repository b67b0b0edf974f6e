"""The steps in order, over a run folder, from the first to the last round."""
