"""Trains the embedded model from scratch: `python -m dagsdk_shapes.pretrain --out DIR`."""
