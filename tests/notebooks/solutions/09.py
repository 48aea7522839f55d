"""Lesson 9: an island of float32 around the softmax."""

RIGHT = r'''def careful(q, k, v):
    """As `plain`, with an island of float32."""
    scores = q.float() @ k.float().transpose(-1, -2) / SIZE**0.5
    return F.softmax(scores, dim=-1).to(v.dtype) @ v
'''

WRONG = [
    (
        RIGHT.replace(
            "    scores = q.float() @ k.float().transpose(-1, -2) / SIZE**0.5\n",
            "    scores = (q @ k.transpose(-1, -2) / SIZE**0.5).float()\n",
        ),
        "float16 has an error of nan. Which tensor was too large",
    ),
    (RIGHT.replace(" / SIZE**0.5", ""), "Which step loses digits, or is another?"),
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
