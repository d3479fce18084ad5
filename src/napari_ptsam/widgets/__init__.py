"""Show everything in napari. Only this package imports Qt or napari."""
