"""Families of backbones: one file each, listed in `registry`."""
