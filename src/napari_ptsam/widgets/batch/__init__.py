"""The dock widget "Batch segment" and its runs."""
