"""Show it all in napari: the only package that imports Qt or napari."""
