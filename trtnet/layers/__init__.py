"""One small class for each kind of TensorRT layer.

A class says three things of its kind: the shape and type of what it gives, how it is added to an
`INetworkDefinition`, and what it computes in PyTorch. What it may ask of its surroundings is in `targets.py`. Nothing
else in trtnet knows kinds.

Where to add: a kind as a class in the file of its trade (`base.py` has what it may say), and a network with it in
tests/helpers/cases.py; what one TensorRT gets wrong as `supported` or `failing` of the kind, with `compose` in its
place.
"""
