"""Lesson 8: the smallest workspace, by bisection."""

RIGHT = r'''def smallest_workspace(takes):
    """The least number of bytes for which `takes(number)` is true."""
    low, high = 1, 1 << 30
    while high - low > 1:
        middle = (low + high) // 2
        if takes(middle):
            high = middle
        else:
            low = middle
    return high
'''

WRONG = [
    (RIGHT.replace("    return high\n", "    return low\n"), "bytes the builder still refuses."),
    (RIGHT.replace("    return high\n", "    return high / 1\n"), "is no whole number of bytes"),
    (
        RIGHT.replace(
            "    low, high = 1, 1 << 30\n",
            "    high = 1 << 30\n    while takes(high // 2):\n        high //= 2\n    low = high - 1\n",
        ),
        "are enough, but one byte less is, too",
    ),
]
