"""Graphs made of graphs: composed for a provider, with live inputs, with further outputs.

A rewriting goes through a graph's layers in order, shares what stays as it is, and records what comes in its place.

Where to add: a further rewriting as a file of its own that gives a Graph. What one kind of layer becomes is said by
its class in layers/, not here.
"""
