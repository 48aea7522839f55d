"""What shows TensorRT itself: the raw calls behind a graph, and networks that were written with them.

`calls.py` has a TensorRT that computes nothing and writes down what it is asked; over it `explaining.py` tells the
calls by the lines of `forward`, and `script.py` writes them as a program. `reading.py` goes the other way, from an
INetworkDefinition to a graph, and `learn.py` compares both. `drawing.py` draws a graph, and an engine's layers over
it: `picture.py` says what is shown, page/ has the page that opens in a browser.

Where to add: what a kind of layer is read back from is a classmethod of its class (layers/), not here.
"""
