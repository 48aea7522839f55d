"""Lesson 1."""

RIGHT = r"""shapes = {
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
"""

WRONG = [
    (RIGHT.replace("24, 24", "28, 28"), "(1, 20, 28, 28) is not yet right; n - k + 1 rows"),
    (RIGHT.replace("(1, 800)", "(1, 50, 16)"), "8 of 9 are right."),
    (RIGHT.replace("(1, 800)", "[1, 800]"), "shuffle: [1, 800] is not yet right; a shape is a tuple"),
    (RIGHT.replace('    "softmax": (1, 10),\n', ""), "softmax: missing"),
]
