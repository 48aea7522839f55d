"""What every engine is, whoever runs it: inputs, bindings, plans, files, weights, HotSwap."""
