"""What is recorded: tensors, the recorder, graphs.

`tensor.py` has Tensor, Array, Parameter and Buffer, `recorder.py` what a recording keeps, `graph.py` the list of
layers that results. All of them see a layer by what they ask of it, never by its class.

Where to add: hardly ever here. A method of tensors belongs to functional/, a kind of layer to layers/.
"""
