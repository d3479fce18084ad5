"""Load SAM's frozen networks: weights, image encoder and mask decoder."""
