"""What sycophancy suites ask, and how the answers are read."""
