"""What became better and what worse: suites, judges, probes, monitors, over the same statistics."""
