"""TensorRT: the provider and the device; build makes engines, run runs them.

`abilities.py` says what one TensorRT can and another cannot; `provider.py` alone imports one, `callbacks.py` is what it
calls back, and `bindings.py` has its objects' types, as far as they are used here. `device.py` is the GPU,
`plugins.py` what TensorRT's plugin registry has. `build/` has options, lowering, the cache of plans, the summary;
`run/` has engines, contexts, calls and refits; `kernels/` compiles CUDA source.

Where to add: a peculiarity of one TensorRT as a property of Abilities that says what was seen, where, and on which
version; an option of builds in `build/options.py`, and how the builder is told in its neighbour `configuration`.
"""
