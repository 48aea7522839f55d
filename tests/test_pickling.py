"""What goes to other processes: by pickle, as multiprocessing does it, and by cloudpickle, as Ray and joblib do."""

import copy
import inspect
import pickle
import subprocess
import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
from cases import CASES, recorded
from harness import needs_rtx

import trtnet
from trtnet import Dim, Input, nn
from trtnet import functional as F
from trtnet.errors import ArgumentError, EngineError, ShapeError, TrtnetError, WeightsNotFoundError

torch = pytest.importorskip("torch")
cloudpickle = pytest.importorskip("cloudpickle")

PICKLES = {"pickle": pickle.dumps, "cloudpickle": cloudpickle.dumps}
BY_BOTH = pytest.mark.parametrize("dumps", PICKLES.values(), ids=PICKLES)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.tied = self.head = nn.Linear(4, 2)
        self.activation = F.relu_

    def forward(self, x):
        return {"y": self.head(self.activation(self.norm(self.conv(x))).mean((2, 3)))}


def graph():
    return trtnet.record(Net(), x=Input((Dim("batch", min=1, opt=2, max=4), 1, 8, 8)))


X = np.random.default_rng(0).standard_normal((3, 1, 8, 8), np.float32)


def elsewhere(data, code):
    """What `code` prints about the unpickled `value`, in a fresh process."""
    script = f"import pickle, sys\nvalue = pickle.loads(sys.stdin.buffer.read())\n{code}"
    done = subprocess.run([sys.executable, "-c", script], input=data, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode()


def test_a_function_that_names_the_package_runs_in_another_process():
    def work(shape):
        net = trtnet.nn.Sequential(trtnet.nn.Linear(shape[-1], 2, bias=False), trtnet.nn.ReLU())
        for parameter in net.parameters():
            parameter.set(np.ones((2, 3), np.float32))
        return trtnet.reference(trtnet.record(net, input=trtnet.Input(shape)))(input=np.ones(shape, np.float32))

    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    try:
        data = cloudpickle.dumps(work)
    finally:
        cloudpickle.unregister_pickle_by_value(sys.modules[__name__])
    assert elsewhere(data, "print(value((1, 3)).tolist())").strip() == "[[3.0, 3.0]]"


@BY_BOTH
def test_the_package_is_its_import(dumps):
    assert pickle.loads(dumps(trtnet)) is trtnet


def test_every_public_name():
    for name in dir(trtnet):
        value = getattr(trtnet, name)
        if not name.startswith("_") and not isinstance(value, (ModuleType, SimpleNamespace)):
            again = pickle.loads(pickle.dumps(value))
            assert type(again) is type(value), name
            if isinstance(value, type) or callable(value):
                assert again is value, name


@BY_BOTH
def test_a_module_with_the_values_that_it_had(dumps):
    net = Net()
    again = pickle.loads(dumps(net))  # values that were not read yet are drawn
    assert again.tied is again.head
    for name, value in net.state_dict().items():
        assert np.array_equal(again.state_dict()[name], value), name


def test_every_module_of_nn():
    few = {"Conv1d": (2, 2, 1), "MultiheadAttention": (4, 2), "Unfold": (2,), "Fold": (2, 1)}
    done = 0
    for name, cls in vars(nn).items():
        if not (inspect.isclass(cls) and issubclass(cls, nn.Module)) or name == "Module":
            continue
        for arguments in (few.get(name, ()), (2,), (2, 2), (2, 2, 2), (4, 2)):
            try:
                net = cls(*arguments)
            except (TrtnetError, TypeError, AssertionError):
                continue
            again = pickle.loads(pickle.dumps(net))
            assert repr(again) == repr(net)
            assert all(np.array_equal(again.state_dict()[k], v) for k, v in net.state_dict().items())
            done += 1
            break
    assert done > 90


@BY_BOTH
def test_a_graph_with_values_and_places(dumps):
    given = graph()
    again = pickle.loads(dumps(given))
    assert again.structure_hash() == given.structure_hash()
    assert again.summary() == given.summary()
    assert str(again.layers[0].location) == str(given.layers[0].location)
    assert again.parameters["tied.weight"] is again.parameters["head.weight"]
    assert np.array_equal(trtnet.reference(again)(x=X)["y"], trtnet.reference(given)(x=X)["y"])
    assert np.array_equal(trtnet.reference(copy.deepcopy(given))(x=X)["y"], trtnet.reference(given)(x=X)["y"])


@pytest.mark.parametrize("name", CASES)
def test_graphs_of_every_kind_of_layer(name):
    given, inputs = recorded(name)
    again = pickle.loads(pickle.dumps(given))
    assert again.structure_hash() == given.structure_hash()
    mine, wanted = trtnet.reference(again)._flat_result(inputs), trtnet.reference(given)._flat_result(inputs)
    assert all(np.array_equal(a, b, equal_nan=a.dtype.kind == "f") for a, b in zip(mine, wanted, strict=True))


@BY_BOTH
@pytest.mark.parametrize("refit", [False, True])
def test_a_plan(dumps, refit, tmp_path):
    needs_rtx()
    plan = trtnet.build_plan(graph(), "sm86", refit=refit)
    again = pickle.loads(dumps(plan))
    assert bytes(again) == bytes(plan)
    assert again.manifest == plan.manifest
    assert all(np.array_equal(again.parameters[name], value) for name, value in plan.parameters.items())
    again.save(tmp_path / "a.engine")
    plan.save(tmp_path / "b.engine")
    assert (tmp_path / "a.engine.json").read_bytes() == (tmp_path / "b.engine.json").read_bytes()


@BY_BOTH
def test_a_module_to_train(dumps):
    module = trtnet.to_torch(graph())
    with torch.no_grad():
        module.conv.weight.mul_(2)
    wanted = module(torch.from_numpy(X))["y"]
    for again in (pickle.loads(dumps(module)), copy.deepcopy(module)):
        found = again(x=torch.from_numpy(X))["y"]
        assert torch.equal(found, wanted)
        found.sum().backward()
        assert again.conv.weight.grad is not None
        assert again.tied.weight is again.head.weight
    assert module.conv.weight.grad is None
    code = f"import torch; torch.manual_seed(0); print(value(torch.ones(1, 1, 8, 8))['y'].shape, {X.shape[0]})"
    assert elsewhere(dumps(module), code).split(") ")[0] == "torch.Size([1, 2]"


def test_an_input_named_self_of_a_module_to_train():
    module = trtnet.to_torch(trtnet.record(lambda self, x: self - x, self=Input((2,)), x=Input((2,))))
    x, y = torch.tensor([5.0, 6.0]), torch.tensor([1.0, 2.0])
    assert torch.equal(module(self=x, x=y), x - y)
    assert torch.equal(module(x, x=y), x - y)


def test_a_name_that_torch_has_itself():
    class Taken(nn.Module):
        def __init__(self):
            super().__init__()
            self.dump_patches = nn.Linear(2, 2)

        def forward(self, x):
            return self.dump_patches(x)

    with pytest.raises(ArgumentError, match=r"cannot hold the name 'dump_patches'"):
        trtnet.to_torch(trtnet.record(Taken(), x=Input((1, 2))))


def failing():
    return trtnet.reference(graph())(x=np.zeros((9, 1, 8, 8), np.float32))


@BY_BOTH
def test_an_error_keeps_its_whole_message(dumps):
    with pytest.raises(ShapeError) as caught:
        failing()
    error = caught.value
    error.found = trtnet.reference(graph())  # an object that cannot be pickled itself
    for again in (pickle.loads(dumps(error)), copy.copy(error)):
        assert type(again) is ShapeError
        assert str(again) == str(error)
        assert (again.problem, again.remedy, again.module) == (error.problem, error.remedy, error.module)
        assert again.where.line == error.where.line
    assert "trtnet.reference(graph())(x=" in str(error)
    said = elsewhere(dumps(error), "print(value)")
    assert said.strip() == str(error)


def every_error(cls=TrtnetError):
    yield cls
    for child in cls.__subclasses__():
        yield from every_error(child)


def test_errors_of_every_kind():
    for kind in every_error():
        error = kind("a problem", expected=3, found=trtnet.float32, module="a.b", remedy="do", details="text")
        again = pickle.loads(pickle.dumps(error))
        assert type(again) is kind
        assert str(again) == str(error)
    missing = pickle.loads(pickle.dumps(WeightsNotFoundError("gone")))
    assert isinstance(missing, FileNotFoundError)


@BY_BOTH
def test_engines_say_what_to_do_instead(dumps, tmp_path):
    engine = trtnet.reference(graph())
    bound = engine.bind(torch.from_numpy(X))
    for one in (engine, engine.context(), engine.clone(), trtnet.HotSwap(engine), bound):
        with pytest.raises(EngineError, match=r"engine.save\(path\), and trtnet.load\(path\) in the other process"):
            dumps(one)
    path = engine.save(tmp_path / "a.engine")
    code = f"import trtnet, numpy; print(trtnet.load({str(path)!r})(numpy.ones((1, 1, 8, 8), 'float32'))['y'].tolist())"
    wanted = engine(np.ones((1, 1, 8, 8), np.float32))["y"]
    assert np.array_equal(eval(elsewhere(pickle.dumps(None), code)), wanted)


@BY_BOTH
def test_a_graph_has_its_methods_in_another_process(dumps):
    given = graph()
    assert elsewhere(dumps(given), "print(value.summary())").strip() == given.summary().strip()


@BY_BOTH
def test_the_graph_of_a_plan_has_its_methods_in_another_process(dumps, tmp_path):
    needs_rtx()
    plan = trtnet.build_plan(graph(), "sm86", refit=True)
    plan.save(tmp_path / "a.engine")
    wanted = plan.graph.summary().strip()
    assert elsewhere(dumps(plan), "print(value.graph.summary())").strip() == wanted
    path = pickle.dumps(tmp_path / "a.engine")
    for made in ("Plan.load(value)", "load(value, provider='reference')"):
        assert elsewhere(path, f"import trtnet\nprint(trtnet.{made}.graph.summary())").strip() == wanted
