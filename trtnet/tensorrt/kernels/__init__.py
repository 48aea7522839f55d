"""CUDA source as plugins: compiled by NVRTC (`compiling.py`) or Triton (`triton_code.py`), launched by TensorRT itself
where plans hold kernels (`ahead.py`, `ptx.py`), or by a small C++ plugin (`shim.py` builds it)."""
