"""Graphs computed by PyTorch: the reference engine, to_torch, and what is compared with it."""
