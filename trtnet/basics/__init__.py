"""What everything stands on: errors, source lines, sizes, element types, arrays, files.

Nothing here knows of tensors, layers or engines. `errors.py` has every exception: what was expected, what was found,
the module, the user's line, the remedy. `dims.py` has Dim and Size, over `size_algebra.py`, which proves sizes equal.
`arrays.py` makes NumPy arrays of values, `location.py` finds the user's line, `interrupts.py` and `forking.py` guard
what must not be cut in two.

Where to add: an exception in `errors.py`, derived from TrtnetError and raised with a remedy; an element type in
`dtypes.py`; what two rooms need and neither owns, as a file of its own.
"""
