"""Trained prompts, their files and the library."""
