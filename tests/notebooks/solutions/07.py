"""Lesson 7: the first module whose numbers differ."""

RIGHT = r'''def first_wrong(graph, inside, images, tolerance=1e-4):
    """The first of PATHS at which `graph` differs from `inside`, the original's numbers; None where none does."""
    engine = trtnet.build(graph, provider="reference", extra_outputs=PATHS)
    found = engine(images)
    return next((path for path in PATHS if error(found[path], inside[path]) > tolerance), None)
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
