"""Names of PyTorch that model files import, and that do nothing, or little, inside a network.

`trtnet.cuda.amp` is `torch_names/cuda/amp.py`: trtnet/__init__.py finds the modules here under torch's names.

Where to add: a module of torch's as a file of that name, and in `_ROOMS` of trtnet/__init__.py; a name of torch
itself in `compat.py` and its `__all__`.
"""
