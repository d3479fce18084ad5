"""Help a person annotate: suggestions, outlines, the session folder."""
