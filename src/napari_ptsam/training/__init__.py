"""Examples to prompt: tuning the decoder tokens."""
