"""Engines that TensorRT executes: contexts, calls, refits, memory."""
