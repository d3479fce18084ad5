"""Annotated planes, their split, and sample data."""
