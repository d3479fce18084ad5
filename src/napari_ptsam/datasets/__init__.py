"""Pair images with annotations: sample images, and the annotated planes of a training."""
