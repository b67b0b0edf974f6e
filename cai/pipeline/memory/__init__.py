"""What every step of a run has in memory at most, against what the machine has, before anything is spent."""
