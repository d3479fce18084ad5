"""Compare labels with annotations."""
