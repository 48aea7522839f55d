"""Lesson 1."""

RIGHT = r"""# Exercise
shapes = {
    "conv1/convolution": (1, 20, 24, 24),  # for example (1, 2, 3, 4)
    "pooling": (1, 20, 12, 12),
    "conv2/convolution": (1, 50, 8, 8),
    "pooling_1": (1, 50, 4, 4),
    "shuffle": (1, 800),  # flatten
    "fc1/fully_connected": (1, 500),
    "activation": (1, 500),
    "fc2/fully_connected": (1, 10),
    "softmax": (1, 10),
}

hints = {
    "convolution": "n - k + 1 rows and columns; as many channels as nn.Conv2d's second number",
    "pooling": "half the rows and columns, the same channels",
    "shuffle": "channels * rows * columns",
    "fully_connected": "nn.Linear's second number comes last",
}
right = 0
for layer in graph.layers:
    shape = shapes[layer.name]
    if shape is None:
        print(f"{layer.name}: missing")
    elif shape == tuple(layer.outputs[0].shape):
        right += 1
        print(f"{layer.name}: {shape} is right")
    else:
        print(f"{layer.name}: {shape} is not yet right; {hints.get(layer.kind, 'the shape stays as it was')}")
print("Right, all of them." if right == len(graph.layers) else f"{right} of {len(graph.layers)} are right.")
"""

WRONG = [
    (RIGHT.replace("24, 24", "28, 28"), "(1, 20, 28, 28) is not yet right; n - k + 1 rows"),
    (RIGHT.replace("(1, 800)", "(1, 50, 16)"), "8 of 9 are right."),
]
