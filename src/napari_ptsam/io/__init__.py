"""Read and write files safely: locks, checks of values, files that are replaced whole."""
