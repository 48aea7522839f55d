"""Lesson 4."""

RIGHT = r"""class AnyBatch(OnePicture):
    def forward(self, image):
        image = image / image.amax((1, 2, 3), keepdim=True)
        x = F.relu(self.conv2(F.relu(self.conv1(image))))
        x = x.flatten(2)
        x = trtnet.cat([self.first.expand(x.shape[0], -1, -1), x], 1)
        return self.head(x.flatten(1))
"""

WRONG = [
    (RIGHT.replace("amax((1, 2, 3), keepdim=True)", "amax(0, keepdim=True)"), "batch 1: not yet, 1 pictures"),
    (RIGHT.replace("amax((1, 2, 3), keepdim=True)", "amax()"), "6 pictures get other numbers than alone"),
    (RIGHT.replace("self.first.expand(x.shape[0], -1, -1)", "self.first"), "not yet: concatenated tensors differ"),
    (RIGHT.replace("x.flatten(1)", "x.reshape(1, -1)"), "expected: batch*833 = 833"),
]
