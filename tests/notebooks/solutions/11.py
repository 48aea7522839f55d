"""Lesson 11: a running sum as a scan."""

RIGHT = r'''def running_sum(x):
    """(time, 3) to (time, 3): each row is the sum of the rows up to it."""

    def body(total, row):
        total = total + row
        return total, total

    return trtnet.scan(body, trtnet.zeros(3), x)[1]
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
