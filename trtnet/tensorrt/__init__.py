"""TensorRT: the provider and the device; build makes engines, run runs them."""
