"""Manifests that somebody changed: an error that says so, or the engine that was saved. Never anything else."""

import copy
import json
import random

import numpy as np
import pytest

import trtnet
from trtnet import Dim, Input, nn
from trtnet import functional as F
from trtnet.engine.plan import _meaning
from trtnet.errors import TrtnetError, WeightsError

torch = pytest.importorskip("torch")


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3, stride=2)
        self.norm = nn.BatchNorm2d(4)
        self.tied = self.head = nn.Linear(4, 4)

    def forward(self, x, mask):
        h = F.relu(self.norm(self.conv(x))).mean((2, 3)) * trtnet.arange(4.0)
        return {"y": self.tied(self.head(h)), "top": h.topk(2)[1], "masked": F.softmax(h + mask, 1)}


SIZE = Dim("batch", min=1, opt=2, max=4)
INPUTS = {"x": np.random.default_rng(0).random((3, 1, 8, 8), np.float32), "mask": np.ones((3, 4), np.float32)}


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    graph = trtnet.record(Net(), x=Input((SIZE, 1, 8, 8)), mask=Input((SIZE, 4)))
    engine = trtnet.build(graph, provider="reference", refit="head*", live="conv.bias")
    path = engine.save(tmp_path_factory.mktemp("saved") / "net.engine")
    manifest = path.with_name(path.name + ".json")
    return path, manifest, json.loads(manifest.read_text()), engine(**INPUTS)


def nodes(value, above=()):
    """Every place in a JSON value, as the keys that lead to it."""
    yield above
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in children:
        yield from nodes(child, (*above, key))


def nested(depth):
    value = 1
    for _ in range(depth):
        value = [value]
    return value


LIES = (
    None, True, False, 0, -1, 1, 2, 7, 10**9, 10**30, 10**400, 0.5, -0.0, 1e308, "", "x", "conv.weight", "float64", [],
    {}, [1], {"size": 3}, {"size": ["add", 1, "batch"]}, {"tuple": [1, 2]}, {"dtype": "int8"}, {"dtype": "no"},
    {"float": "nan"}, {"weight": 0}, nested(300), nested(3000), "9" * 5000, "\udc80", "reference", "tensorrt",
)  # fmt: skip


def mutated(manifest, chance, places):
    data = copy.deepcopy(manifest)
    *above, last = chance.choice(places)
    owner = data
    for key in above:
        owner = owner[key]
    way = chance.randrange(5)
    if way == 0 and isinstance(owner, dict):
        del owner[last]
    elif way == 1 and isinstance(owner, dict):
        owner[chance.choice(("x", "", "conv.weight", "y"))] = owner.pop(last)
    elif way == 2 and isinstance(owner, list):
        owner.insert(chance.randrange(len(owner) + 1), copy.deepcopy(chance.choice(owner)))
    elif way == 3 and len(owner) > 1:
        other = chance.choice(list(owner) if isinstance(owner, dict) else range(len(owner)))
        owner[last], owner[other] = owner[other], owner[last]
    else:
        owner[last] = chance.choice(LIES)
    return data


def used(engine, folder):
    """Everything that an engine offers; what it raises is trtnet's."""
    result = engine(**INPUTS)
    for use in (
        engine.parameters, lambda: str(engine.weights), engine.graph.summary, engine.inspect, engine.clone,
        engine.warmup,
        lambda: engine.refit(dict(engine.parameters())), lambda: engine.restore(engine.snapshot()),
        lambda: engine.save(folder / "again.engine"), lambda: repr(engine), lambda: engine(x=np.zeros(3)),
        lambda: trtnet.to_torch(engine.graph),
    ):  # fmt: skip
        try:
            use()
        except TrtnetError as error:
            str(error)
    return result


def places_of(written):
    """Each place once, those deep inside layers as seldom as those at the top."""
    by_depth = {}
    for place in nodes(written):
        if place:
            by_depth.setdefault((place[0], len(place)), []).append(place)
    return [place for group in by_depth.values() for place in random.Random(0).sample(group, min(40, len(group)))]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("knows_the_digest", [False, True])
def test_random_mutations(saved, tmp_path, knows_the_digest):
    path, place, written, wanted = saved
    chance, refused, loaded = random.Random(int(knows_the_digest)), 0, 0
    places = places_of(written)
    try:
        for _ in range(500):
            data = mutated(written, chance, places)
            if knows_the_digest:
                try:
                    data["meaning_sha256"] = _meaning(data)
                except (KeyError, RecursionError, TypeError):
                    continue
            try:
                place.write_text(json.dumps(data))
            except RecursionError:
                continue
            try:
                engine = trtnet.load(path)
            except TrtnetError as error:
                str(error)
                refused += 1
                continue
            loaded += 1
            try:
                found = used(engine, tmp_path)
            except TrtnetError:
                assert knows_the_digest, "what was changed was found while it was loaded"
                continue
            if not knows_the_digest:
                assert all(np.array_equal(found[name], value) for name, value in wanted.items())
    finally:
        place.write_text(json.dumps(written))
    assert refused > 150
    assert loaded > 5


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m.pop("provider"), "no manifest of an engine"),
        (lambda m: m.update(provider=3), "no manifest of an engine"),
        (lambda m: m.update(plan_sha256=None), "no manifest of an engine"),
        (lambda m: m.update(stripped="no"), "the part 'stripped'"),
        (lambda m: m.update(refittable=["nothing"]), "the part 'refittable'"),
        (lambda m: m.update(live={"nothing": "x"}), "the part 'live'"),
        (lambda m: m.update(graph=nested(400)), "cannot be read"),
        (lambda m: m["graph"]["layers"][0].update(name="other"), "something was changed"),
        (lambda m: m["graph"].update(title="Other"), "something was changed"),
        (lambda m: m["graph"]["parameters"].update({"head.weight": m["graph"]["parameters"]["tied.bias"]}), "manifest"),
        (lambda m: m.pop("options"), "parts are missing or wrong"),
    ],
)
def test_what_was_changed_is_said(saved, change, message):
    path, place, written, wanted = saved
    data = copy.deepcopy(written)
    change(data)
    try:
        place.write_text(json.dumps(data))
        with pytest.raises(WeightsError, match=message) as caught:
            trtnet.load(path)
        assert "save the engine again" in str(caught.value) or "build the engine again" in str(caught.value)
    finally:
        place.write_text(json.dumps(written))
    again = trtnet.load(path)(**INPUTS)
    assert all(np.array_equal(again[name], value) for name, value in wanted.items())


def test_deep_nesting(saved):
    path, place, written, _ = saved
    try:
        for depth in (500, 2000, 200_000):
            place.write_text("[" * depth + "]" * depth)
            with pytest.raises(WeightsError, match="no manifest of an engine"):
                trtnet.load(path)
            place.write_text('{"graph": ' + "[" * depth + "]" * depth + "}")
            with pytest.raises(WeightsError):
                trtnet.load(path)
    finally:
        place.write_text(json.dumps(written))


def test_a_constant_of_more_bytes_than_its_shape_says(saved):
    import base64
    import zlib

    path, place, written, _ = saved
    data = copy.deepcopy(written)
    bomb = base64.b64encode(zlib.compress(bytes(1 << 26))).decode()
    for table in (data["graph"]["weights"], data["recipes"]["table"]):
        for one in table:
            if one[0] == "constant":
                one[3] = bomb
    try:
        place.write_text(json.dumps(data))
        with pytest.raises(WeightsError, match="cannot be read"):
            trtnet.load(path)
    finally:
        place.write_text(json.dumps(written))
