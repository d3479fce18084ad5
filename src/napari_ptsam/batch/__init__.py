"""Segment whole stacks into files, in steps that can be resumed."""
