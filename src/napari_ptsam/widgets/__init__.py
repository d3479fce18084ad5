"""What napari shows: the only package that imports Qt or napari."""
