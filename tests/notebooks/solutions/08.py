"""Lesson 8: the smallest workspace, by bisection."""

RIGHT = r'''# Exercise
def smallest_workspace(takes):
    """The least number of bytes for which `takes(number)` is true."""
    low, high = 1, 1 << 30
    while high - low > 1:
        middle = (low + high) // 2
        if takes(middle):
            high = middle
        else:
            low = middle
    return high


def check():
    attempts = []

    def takes(workspace):
        attempts.append(workspace)
        if len(attempts) > 100:
            raise TimeoutError
        return builds(graph, workspace)

    try:
        answer = smallest_workspace(takes)
    except TimeoutError:
        return print("Not yet: 100 attempts, and no end. What do you know of all smaller numbers if one is refused?")
    except trtnet.TrtnetError as error:
        return print(f"Not yet, trtnet says:\n{error}")
    if answer is None:
        return print("Something is missing: smallest_workspace returns None.")
    if not builds(graph, answer):
        return print(f"Not yet: with {answer:,} bytes the builder still refuses.")
    if builds(graph, answer - 1):
        return print(f"Not yet: {answer:,} bytes are enough, but one byte less is, too.")
    print(f"Right: {answer:,} bytes, after {len(attempts)} attempts.")


check()
'''

WRONG = [
    (RIGHT.replace("    return high\n", "    return low\n"), "bytes the builder still refuses."),
    (
        RIGHT.replace(
            "    low, high = 1, 1 << 30\n",
            "    high = 1 << 30\n    while takes(high // 2):\n        high //= 2\n    low = high - 1\n",
        ),
        "are enough, but one byte less is, too",
    ),
]
