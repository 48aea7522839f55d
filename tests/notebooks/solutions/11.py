"""Lesson 11: a running sum as a scan."""

RIGHT = r'''# Exercise
def running_sum(x):
    """(time, 3) to (time, 3): each row is the sum of the rows up to it."""

    def body(total, row):
        total = total + row
        return total, total

    return trtnet.scan(body, trtnet.zeros(3), x)[1]


def check():
    results = []

    def forward(x):
        results.append(running_sum(x))
        return x if results[0] is None else results[0]

    try:
        graph = trtnet.record(forward, x=Input((time, 3)))
    except trtnet.TrtnetError as error:
        return print(f"Not yet, trtnet says:\n{error}")
    kinds = [layer.kind for layer in graph.layers]
    if results[0] is None:
        return print("Something is missing: running_sum returns None.")
    if "iterator" not in kinds:
        return print(f"Not yet: there is no loop over the rows in it, but {kinds}.")
    engine = trtnet.reference(graph)
    for length in (1, 5, 9):
        x = random.integers(-9, 10, (length, 3)).astype(np.float32)
        found = engine(x)
        if np.shape(found) != (length, 3):
            return print(f"Not yet: of {length} rows it gives {np.shape(found) or type(found).__name__}.")
        if not np.array_equal(found, x.cumsum(0)):
            return print(f"Not yet, of {length} rows:\nx =\n{x}\nrunning_sum(x) =\n{found}\nWhat is the first row?")
    print("Right: one body for lengths 1, 5 and 9.")


check()
'''

WRONG = [
    (
        RIGHT.replace(
            "        total = total + row\n        return total, total\n", "        return total + row, total\n"
        ),
        "What is the first row?",
    ),
    (
        RIGHT.replace("trtnet.scan(body, trtnet.zeros(3), x)[1]", "trtnet.scan(body, trtnet.zeros(3), x)[0]"),
        "Not yet: of 1 rows it gives (3,)",
    ),
    (
        RIGHT.replace("trtnet.scan(body, trtnet.zeros(3), x)[1]", "x.cumsum(0)"),
        "no loop over the rows in it, but ['cumulative']",
    ),
    (
        RIGHT.replace("        return total, total\n", "        return total\n"),
        "the body of scan returns what is carried on, and a result",
    ),
]
