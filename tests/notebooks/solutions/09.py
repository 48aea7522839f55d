"""Lesson 9: an island of float32 around the softmax."""

RIGHT = r'''# Exercise
def careful(q, k, v):
    """As `plain`, with an island of float32."""
    scores = q.float() @ k.float().transpose(-1, -2) / SIZE**0.5
    return F.softmax(scores, dim=-1).to(v.dtype) @ v


def check():
    if careful(*trtnet.zeros(3, 4, SIZE)) is None:
        return print("Something is missing: careful returns None.")
    for dtype, most in ((trtnet.float16, 0.02), (trtnet.bfloat16, 0.1)):
        try:
            graph = recorded(careful, dtype, channel=300)
        except trtnet.TrtnetError as error_of_trtnet:
            return print(f"Not yet, trtnet says:\n{error_of_trtnet}")
        types = {kind: [] for kind in ("softmax", "matrix_multiply")}
        for layer in graph.layers:
            types.get(layer.kind, []).append(layer.outputs[0].dtype)
        if types["softmax"] != [trtnet.float32]:
            return print(f"Not yet: the types of softmax layers are {types['softmax']}, and one of float32 is wanted.")
        found = error(graph, channel=300)
        if not found < most:
            return print(f"Not yet: {dtype.name} has an error of {found:.2g}. Which tensor was too large, and where?")
        if types["matrix_multiply"][-1] != dtype:
            return print("Not yet: the numbers are right, but weights @ v needs no float32: the island is too large.")
        print(f"{dtype.name:9} error {found:.2g}")
    print("Right: the scores and their softmax are float32, and the rest has 16 bits.")


check()
'''

WRONG = [
    (
        RIGHT.replace(
            "    scores = q.float() @ k.float().transpose(-1, -2) / SIZE**0.5\n",
            "    scores = (q @ k.transpose(-1, -2) / SIZE**0.5).float()\n",
        ),
        "float16 has an error of nan",
    ),
    (
        RIGHT.replace(
            "F.softmax(scores, dim=-1).to(v.dtype) @ v", "(F.softmax(scores, dim=-1) @ v.float()).to(v.dtype)"
        ),
        "the island is too large",
    ),
    (
        RIGHT.replace("F.softmax(scores, dim=-1).to(v.dtype) @ v", "F.softmax(scores, dim=-1) @ v"),
        "must have one dtype",
    ),
]
