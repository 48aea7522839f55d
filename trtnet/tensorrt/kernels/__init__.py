"""CUDA source as plugins: compiled by NVRTC (`compiling.py`), launched by a small C++ plugin (`shim.py` builds it)."""
