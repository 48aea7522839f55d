"""Lesson 3."""

RIGHT = r"""fixed = dict(theirs)
fixed["conv1.weight"] = fixed.pop("conv1.wieght")
fixed["fc2.weight"] = np.ascontiguousarray(fixed.pop("fc2.kernel").T)
"""

WRONG = [
    (RIGHT.replace('np.ascontiguousarray(fixed.pop("fc2.kernel").T)', 'fixed.pop("fc2.kernel")'), "expected (10, 500)"),
    (RIGHT.replace(").T)", ").reshape(10, 500))"), "it loads, but LeNet reads only"),
]
