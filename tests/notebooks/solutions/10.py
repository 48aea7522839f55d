"""Lesson 10: scales of the largest values."""

RIGHT = r'''# Exercise
def scales_of(state, seen):
    """The parameters "conv1.input_scale", "conv1.weight_scale" and so on, as NumPy arrays.

    `state` has the weights ("conv1.weight"), `seen` what goes into each layer ("conv1").
    """
    scales = {}
    for name in seen:
        weight = np.abs(state[f"{name}.weight"])
        scales[f"{name}.input_scale"] = np.array([np.abs(seen[name]).max() / 127])
        scales[f"{name}.weight_scale"] = weight.reshape(len(weight), -1).max(1) / 127
    return scales


def check():
    try:
        scales = scales_of(state, seen)
        if any(value is None for value in scales.values()):
            return print("Something is missing:", [name for name, value in scales.items() if value is None])
        count = right_of(recorded({name: np.asarray(value, np.float32) for name, value in scales.items()}))
    except trtnet.TrtnetError as error:
        return print(f"Not yet, trtnet says:\n{error}")
    if count < 882:
        print(f"Not yet: {count} of 899. INT8 has 127 steps; how many do the largest values take?")
        for name in seen:
            steps = np.abs(seen[name]).max() / float(scales[f"{name}.input_scale"][0])
            rows = np.abs(state[f"{name}.weight"]).reshape(len(state[f"{name}.weight"]), -1).max(1)
            rows = rows / np.asarray(scales[f"{name}.weight_scale"])
            print(f"  {name}: into it {steps:.1f}, in the channels of its weight {rows.min():.1f} to {rows.max():.1f}")
        return
    print(f"Right: {count} of 899 in INT8, {right_of(graph)} in float32.")


check()
'''

WRONG = [
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
