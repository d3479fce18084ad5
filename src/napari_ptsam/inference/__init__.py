"""Turn images and prompts into labels."""
