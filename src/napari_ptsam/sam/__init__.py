"""The frozen model: weights, image encoder and prompted mask decoder."""
