"""Pixels in, tiles out: reading, normalising and cutting planes."""
