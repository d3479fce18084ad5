"""Specialists for other programs: backbone and prompt in one file."""
