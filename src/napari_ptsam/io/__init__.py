"""Read and write files safely: downloads, locks, checked values, atomic replacement."""
