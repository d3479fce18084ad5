"""The dock widget "Annotate and train"."""
