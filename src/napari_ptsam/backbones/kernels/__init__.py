"""Compute parts of SAM faster than the modules that they are tested against."""
