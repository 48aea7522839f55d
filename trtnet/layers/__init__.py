"""One small class for each kind of TensorRT layer."""
