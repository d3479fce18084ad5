"""Hold what was trained, and keep it in files."""
