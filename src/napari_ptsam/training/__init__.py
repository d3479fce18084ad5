"""Train a prompt on annotated planes."""
