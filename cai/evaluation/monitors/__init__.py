"""What training changed that nobody asked for: pure functions over paired answers."""
