"""Code that the docks share: threads, backbones, layers, small widgets."""
