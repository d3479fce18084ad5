"""The dock widget "Batch segment"."""
