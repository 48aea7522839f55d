"""Lesson 10: scales of the largest values."""

RIGHT = r'''def scales_of(state, seen):
    """The parameters "conv1.input_scale", "conv1.weight_scale" and so on, as NumPy arrays.

    `state` has the weights ("conv1.weight"), `seen` what goes into each layer ("conv1").
    """
    scales = {}
    for name in seen:
        weight = np.abs(state[f"{name}.weight"])
        scales[f"{name}.input_scale"] = np.array([np.abs(seen[name]).max() / 127])
        scales[f"{name}.weight_scale"] = weight.reshape(len(weight), -1).max(1) / 127
    return scales
'''

WRONG = [
    (RIGHT.replace("    return scales\n", ""), "scales_of returns None"),
    (
        RIGHT.replace("np.array([np.abs(seen[name]).max() / 127])", "np.array([np.abs(seen[name]).max()])"),
        "fc2: into it 1.0, in the channels of its weight 127.0 to 127.0",
    ),
    (RIGHT.replace("weight.reshape(len(weight), -1).max(1) / 127", "np.array([weight.max() / 127])"), "misshapen"),
    (
        RIGHT.replace("weight.reshape(len(weight), -1).max(1) / 127", "weight.reshape(len(weight), -1).min(1) * 0"),
        "the scales of a quantization are positive and finite",
    ),
]
