"""Export prompts with their backbones for other programs."""
