"""Lesson 7: the first module whose numbers differ."""

RIGHT = r'''# Exercise
def first_wrong(graph, inside, images, tolerance=1e-4):
    """The first of PATHS at which `graph` differs from `inside`, the original's numbers; None where none does."""
    engine = trtnet.build(graph, provider="reference", extra_outputs=PATHS)
    found = engine(images)
    return next((path for path in PATHS if error(found[path], inside[path]) > tolerance), None)


def check():
    for wrong in ("body.2", "stem", "body.4", "body.0", None):
        try:
            found = first_wrong(recorded(wrong), inside, images)
        except trtnet.TrtnetError as mistake:
            return print(f"Not yet, trtnet says:\n{mistake}")
        if found is ...:
            return print("Something is missing: first_wrong returns ... in place of a path or None.")
        if found is not None and found not in PATHS:
            return print(f"Not yet: {found!r} is no path of PATHS.")
        if found != wrong:
            later = found is not None and wrong is not None and PATHS.index(found) > PATHS.index(wrong)
            hint = "The modules behind a wrong one are wrong, too: which is the first?" if later else ""
            hint = "What does float32's rounding look like?" if not hint and found is not None else hint
            return print(f"Not yet: of one of the copies it says {found!r}, which is not where the mistake is. {hint}")
    print("Right: the mistake is found wherever it is, and the right copy is not blamed.")


check()
'''

WRONG = [
    (
        RIGHT.replace(
            "return next((path for path in PATHS if error(found[path], inside[path]) > tolerance), None)",
            "return next((path for path in PATHS if not np.array_equal(found[path], inside[path])), None)",
        ),
        "What does float32's rounding look like?",
    ),
    (RIGHT.replace("for path in PATHS if error", "for path in reversed(PATHS) if error"), "which is the first?"),
    (RIGHT.replace("extra_outputs=PATHS", 'extra_outputs=["body.*.relu"]'), "no layer was recorded in a module"),
]
