"""The prompt: what was learned, and its file."""
