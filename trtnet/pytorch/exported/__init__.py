"""torch.nn.Modules as they are: exported by torch.export, each operator recorded as one call of a function.

`module.py` makes a trtnet Module of torch's, `exporting.py` has torch export it, `guards.py` says of what its Python
code decided whether it is so at all sizes, `playing.py` goes through the operators. `table.py` holds who records which
operator; `same.py` those that functional/ has under the same name, `operators/` the others. `swaps.py` has modules
that are recorded whole, `wrappers.py` what is around a module and its results.

Where to add: an operator in the file of its trade in operators/, by one `@converts`.
"""
