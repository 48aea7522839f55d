"""Engines made by TensorRT: options, lowering, the cache of plans, the summary."""
