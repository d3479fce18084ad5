"""Predict labels and objects of images with prompts."""
