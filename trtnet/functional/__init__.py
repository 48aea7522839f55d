"""Functions named as torch's: inside a recording they record layers, outside they compute with NumPy."""
