"""Export a prompt with its backbone for other programs."""
