"""Graphs computed by PyTorch: the reference engine, to_torch, and what is compared with it.

`engine.py` has the reference engine, `module.py` what `to_torch` gives, with `training.py`, `checking.py` the
comparison that every TensorRT engine passes, on inputs by `sampling.py`, `eager.py` modules called on concrete arrays,
`reading.py` what forward reads as numbers. `program.py` runs the layers; what one computes is said by its class.
`exported/` is the other way: torch.nn.Modules, recorded as they are.

Where to add: a further way to run a graph in PyTorch. A kind's own computation belongs to layers/.
"""
