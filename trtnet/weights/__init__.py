"""Weights: expressions over parameters, files, loading by name, and who owns the arrays."""
