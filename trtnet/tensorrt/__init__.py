"""TensorRT: the provider and the device; build makes engines, run runs them.

`provider.py` alone imports TensorRT, and says what differs from one to another, by name and `hasattr`. `device.py` is
the GPU. `build/` has options, lowering, the cache of plans, the summary; `run/` has engines, contexts, calls and
refits.

Where to add: a peculiarity of one TensorRT as a property of Provider that says what was seen, where, and on which
version; an option of builds in `build/options.py`.
"""
