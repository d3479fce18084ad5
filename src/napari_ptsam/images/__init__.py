"""Turn images into tiles that a model sees: reading, normalization, tiling."""
