"""Lesson 4."""

RIGHT = r"""# Exercise
class AnyBatch(OnePicture):
    def forward(self, image):
        image = image / image.amax((1, 2, 3), keepdim=True)
        x = F.relu(self.conv2(F.relu(self.conv1(image))))
        x = x.flatten(2)
        x = trtnet.cat([self.first.expand(x.shape[0], -1, -1), x], 1)
        return self.head(x.flatten(1))


any_batch = AnyBatch()
any_batch.load_state_dict(one.state_dict())
try:
    any_graph = trtnet.record(any_batch, image=Input((batch, 1, 28, 28)))
    by_many = trtnet.reference(any_graph)
    good = 0
    for count in (1, 7, 64):
        pictures = images[:count] * np.linspace(0.2, 1, count, dtype=np.float32).reshape(-1, 1, 1, 1)
        alone = np.concatenate([by_one(image=pictures[i : i + 1]) for i in range(count)])
        together = by_many(image=pictures)
        if together.shape != alone.shape:
            print(f"batch {count}: not yet, the shape is {together.shape} and should be {alone.shape}")
        elif not (same := np.isclose(together, alone, atol=1e-4).all(1)).all():
            print(f"batch {count}: not yet, {(~same).sum()} pictures get other numbers than alone")
        else:
            print(f"batch {count}: as alone")
            good += 1
    if good == 3:
        print("Right:", trtnet.build_plan(any_graph, targets=["sm86"]))
except trtnet.TrtnetError as error:
    print("not yet:", error)
"""

WRONG = [
    (RIGHT.replace("amax((1, 2, 3), keepdim=True)", "amax(0, keepdim=True)"), "batch 1: not yet, 1 pictures"),
    (RIGHT.replace("amax((1, 2, 3), keepdim=True)", "amax()"), "6 pictures get other numbers than alone"),
    (RIGHT.replace("self.first.expand(x.shape[0], -1, -1)", "self.first"), "not yet: concatenated tensors differ"),
    (RIGHT.replace("x.flatten(1)", "x.reshape(1, -1)"), "expected: batch*833 = 833"),
]
