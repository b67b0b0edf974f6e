"""What commands say at their end, and a run before it begins."""
