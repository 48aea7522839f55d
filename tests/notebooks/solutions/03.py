"""Lesson 3."""

RIGHT = r"""# Exercise
fixed = dict(theirs)
fixed["conv1.weight"] = fixed.pop("conv1.wieght")
fixed["fc2.weight"] = np.ascontiguousarray(fixed.pop("fc2.kernel").T)

digits = load_digits()[1]
try:
    fresh = LeNet()
    fresh.load_state_dict(fixed)
    reader = trtnet.reference(trtnet.record(fresh, image=Input(digits.images.shape)))
    good = int((reader(image=digits.images)["prob"].argmax(1) == digits.labels).sum())
    if good > 880:
        print(f"Right: LeNet reads {good} of {len(digits.labels)} digits.")
    else:
        print(f"not yet: it loads, but LeNet reads only {good} of {len(digits.labels)} digits")
except trtnet.TrtnetError as error:
    print("not yet:", error)
"""

WRONG = [
    (RIGHT.replace('np.ascontiguousarray(fixed.pop("fc2.kernel").T)', 'fixed.pop("fc2.kernel")'), "expected (10, 500)"),
    (RIGHT.replace(").T)", ").reshape(10, 500))"), "it loads, but LeNet reads only"),
]
