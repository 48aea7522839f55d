"""Weights: expressions over parameters, files, loading by name, and who owns the arrays.

`recipes.py` has the few operations that a weight inside a network may be of the user's parameters (take, cast, fold),
`ledger.py` keeps arrays alive while TensorRT reads them, `matching.py` fits a state dict to a module, and each file
format has a file.

Where to add: a file format as a file with `read` and `write`, named in the tables of `files.py`; an operation on
weights in `recipes.py`.
"""
