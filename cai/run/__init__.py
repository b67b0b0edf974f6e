"""What a run keeps (folder, journal) and how its work is bounded (runner, threads, progress)."""
