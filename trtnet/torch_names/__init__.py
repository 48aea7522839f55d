"""Names of PyTorch that model files import, and that do nothing, or little, inside a network."""
