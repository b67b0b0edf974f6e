"""Every setting: its type and default, the YAML it is read from with line and column, where it came from."""
