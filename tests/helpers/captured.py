"""What TensorRT 8.6.1 said of engines that it built on an H200: `engine.inspect()` and `engine.profile`, whole.

"names" was built without `profiling_verbosity="detailed"`.
"""

from __future__ import annotations

import json
from pathlib import Path

import trtnet
from models.lenet import LeNet
from models.resnet import resnet18
from models.vision_transformer import VisionTransformer
from trtnet import Dim, Input
from trtnet.engine.layer_times import LayerTime, LayerTimes

PROVIDER = "tensorrt==8.6.1"
STORED = json.loads((Path(__file__).parents[2] / "notebooks" / "lenet-h200.json").read_text())
"""One of them, as lesson 8 reads it: the times are in trtexec's form."""
_RUNS = json.loads(Path(__file__).with_name("h200.json").read_text())
RUNS = {f"{run['network']} {run['variant']}": run for run in _RUNS}
RUNS["lenet float16"] = RUNS["lenet float32"] | {
    "variant": "float16",
    "dtype": "float16",
    "inspection": STORED["inspection"],
    "times": [[one["name"], one["averageMs"], one["percentage"] / 100] for one in STORED["times"][1:]],
}
NETWORKS = {
    "lenet": (LeNet, (1, 28, 28)),
    "resnet18": (resnet18, (3, 224, 224)),
    "vit": (VisionTransformer, (3, 224, 224)),
}


def network_of(run):
    made, shape = NETWORKS[run["network"]]
    network = made().half() if run["dtype"] == "float16" else made()
    batch = Dim("batch", min=1, opt=8, max=16) if run["dynamic"] else 8
    return trtnet.record(network, image=Input((batch, *shape), run["dtype"]))


def times_of(run):
    return LayerTimes(tuple(LayerTime(*row) for row in run["times"]), 20, "cuda:0")
