"""Code that the docks share: threads, backbones, layers and small widgets."""
