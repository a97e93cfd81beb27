"""Frozen vision backbones: the model, its hook, and their weights."""
