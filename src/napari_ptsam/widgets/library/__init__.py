"""The prompt library: its dialog, and the card that shows a prompt."""
