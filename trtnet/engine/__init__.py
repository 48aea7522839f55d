"""What every engine is, whoever runs it: inputs, bindings, plans, files, weights, HotSwap.

`engine.py` has Engine, which takes calls, refits, snapshots and live weights alike for TensorRT and the reference;
`plan.py` and `files.py` keep what is compiled, `graph_json.py` a graph as JSON. `layer_times.py` says how long an
engine's layers take, `fusion.py` what they were made of.

Where to add: what all engines shall be able to do, as a method of Engine that asks its subclasses for as little as
can be; what TensorRT alone can do belongs to tensorrt/run/.
"""
