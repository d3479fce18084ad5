"""Prompt and planes to labels."""
