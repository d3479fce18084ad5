"""Read images, normalize their planes, and cut them into tiles for the model."""
