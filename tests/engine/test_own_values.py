"""An engine keeps values of its own: what happens to the files and arrays that it was made from does not reach it."""

import os
import pickle
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from harness import needs_rtx

import trtnet
from trtnet import Input, nn
from trtnet.engine.plan import Plan
from trtnet.errors import ArgumentTypeError
from trtnet.weights.files import write
from trtnet.weights.ledger import kept

torch = pytest.importorskip("torch")

X = np.ones((1, 4), np.float32)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(4, 3)
        self.norm = nn.BatchNorm1d(3)

    def forward(self, x):
        return self.norm(self.first(x))


def values(seed):
    chance = np.random.default_rng(seed)
    return {n: np.asarray(chance.uniform(1, 2, v.shape), v.dtype) for n, v in Net().state_dict().items()}


def overwrite(path, seed):
    """`cp new old`: the same file, other bytes."""
    other = path.with_name(f"other{path.suffix}")
    write(other, values(seed))
    data = other.read_bytes()
    assert len(data) == path.stat().st_size
    with path.open("rb+") as file:
        file.write(data)


def mapped(path):
    return trtnet.record(Net().load_weights(path), x=Input((1, 4)))


def plain(seed):
    net = Net()
    net.load_state_dict(values(seed))
    return trtnet.record(net, x=Input((1, 4)))


def equal(state, seed):
    return all(np.array_equal(value, values(seed)[name]) for name, value in state.items())


@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
def test_a_file_that_is_overwritten_does_not_reach_what_was_made_from_it(tmp_path, suffix):
    path = tmp_path / f"w{suffix}"
    write(path, values(1))
    graph = mapped(path)
    wanted = trtnet.reference(plain(1))(X)
    engine, module = trtnet.reference(graph), trtnet.to_torch(graph)
    built = trtnet.build(graph, provider="reference")
    double = trtnet.reference(graph, dtype="float64")
    clone, snapshot = engine.clone(), engine.snapshot()
    overwrite(path, 2)
    assert equal({n: leaf.value.read() for n, leaf in graph.parameters.items()}, 2), "the graph is mapped"
    for one in (engine, built, clone, engine.clone(), clone.clone(), double):
        assert np.array_equal(one(X), wanted) or one is double
        assert equal(one.parameters(), 1)
    np.testing.assert_allclose(double(X), wanted, rtol=1e-5)
    assert equal(module.state_dict(), 1)
    engine.refit(values(3))
    engine.restore(snapshot)
    assert np.array_equal(engine(X), wanted)
    engine.refit({"first.bias": values(1)["first.bias"] + 1})
    engine.save(tmp_path / "net.engine")
    assert equal({n: v for n, v in trtnet.load(tmp_path / "net.engine").parameters().items() if "bias" not in n}, 1)


def test_the_files_of_a_loaded_engine(tmp_path):
    path = trtnet.reference(plain(1)).save(tmp_path / "net.engine")
    engine, plan = trtnet.load(path), Plan.load(path)
    weights = path.with_name(path.name + ".safetensors")
    with weights.open("rb+") as file:
        file.write(bytes(weights.stat().st_size))
    assert equal(engine.parameters(), 1)
    assert equal(engine.clone().parameters(), 1)
    assert equal(trtnet.reference(engine.graph).parameters(), 1)
    assert equal(plan.parameters, 1)


@pytest.mark.skipif(sys.platform == "win32", reason="a mapped file cannot be made shorter there")
@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
def test_a_file_that_is_cut_off_kills_nobody(tmp_path, suffix):
    path = tmp_path / f"w{suffix}"
    code = f"""
        import numpy as np, os, trtnet, sys
        sys.path[:0] = {[str(Path(__file__).parent), *sys.path]!r}
        from pathlib import Path
        from test_own_values import X, mapped, trtnet, values, write
        path = Path({str(path)!r})
        write(path, values(1))
        graph = mapped(path)
        engine, module = trtnet.reference(graph), trtnet.to_torch(graph)
        engine.save({str(tmp_path / "net.engine")!r})
        loaded = trtnet.load({str(tmp_path / "net.engine")!r})
        os.truncate(path, 0)
        os.truncate({str(tmp_path / "net.engine.safetensors")!r}, 0)
        for one in (engine, loaded):
            clone, snapshot = one.clone(), one.snapshot()
            one(X), clone(X), one.restore(snapshot), one.parameters(), str(one.weights)
            one.refit({{"first.bias": values(2)["first.bias"]}})
            one.save({str(tmp_path / "again.engine")!r})
        module.state_dict(), one.close()
        print("alive")
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip()) == (0, "alive"), done.stderr


def test_what_a_plan_saves_is_what_it_was_built_with(tmp_path):
    needs_rtx()
    path = tmp_path / "w.safetensors"
    write(path, values(1))
    plan = trtnet.build_plan(mapped(path), "sm86", refit=True)
    overwrite(path, 2)
    assert equal(Plan.load(plan.save(tmp_path / "net.engine")).parameters, 1)


def test_arrays_that_somebody_else_can_write_to():
    array = np.arange(12.0, dtype=np.float32).reshape(3, 4)
    view = array[:]
    view.flags.writeable = False
    graph = plain(1)
    graph.load_state_dict(values(1) | {"first.weight": view})
    engine = trtnet.reference(graph)
    array[:] = 0
    assert engine.parameters()["first.weight"].sum() == 66


def test_values_that_are_drawn_when_they_are_first_read():
    net = Net()
    engine = trtnet.reference(trtnet.record(net, x=Input((1, 4))))
    wanted = engine(X)
    net.first.weight.numpy()[:] = 0
    assert np.array_equal(engine(X), wanted)
    assert np.array_equal(engine.clone()(X), wanted)


def test_what_is_kept_and_what_is_copied(tmp_path):
    own = kept(np.ones(3))
    assert not own.flags.writeable
    assert kept(own) is own
    part = own[1:]
    assert kept(part) is part
    raw = np.frombuffer(bytes(12), np.float32)
    assert kept(raw) is raw
    np.ones(3).tofile(tmp_path / "file")
    for other in (
        np.memmap(tmp_path / "file", np.float64, "r"),
        np.memmap(tmp_path / "file", np.float64, "r")[1:],
        np.frombuffer(bytearray(12), np.float32),
        torch.ones(3).numpy(),
        np.broadcast_to(np.ones(1), (3,)),
    ):
        copy = kept(other)
        assert not np.may_share_memory(copy, other)
        assert not copy.flags.writeable


# --- snapshots --------------------------------------------------------------------------------------------------------


def test_a_snapshot_of_another_structure_or_process():
    engine, data = trtnet.reference(plain(1)), []
    for code in ("plain(1)", "trtnet.record(trtnet.nn.Linear(4, 3), input=trtnet.Input((1, 4)))"):
        script = f"""
            import pickle, sys
            sys.path[:0] = {[str(Path(__file__).parent), *sys.path]!r}
            from test_own_values import plain, trtnet
            sys.stdout.buffer.write(pickle.dumps(trtnet.reference({code}).snapshot()))
        """
        done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], capture_output=True, check=True)
        data.append(pickle.loads(done.stdout))
    with pytest.raises(ArgumentTypeError, match=r"(?s)no snapshot of this engine.*another engine of this structure"):
        engine.restore(data[0])
    with pytest.raises(ArgumentTypeError, match=r"(?s)no snapshot of this engine.*expected: structure.*found: +struct"):
        engine.restore(data[1])
    again = pickle.loads(pickle.dumps(engine.snapshot()))
    engine.refit(values(2))
    engine.restore(again)
    assert equal(engine.parameters(), 1)
    other = trtnet.reference(plain(5))  # the remedy
    engine.refit(other.parameters())
    assert equal(engine.parameters(), 5)


def test_the_author_keeps_the_mapped_arrays(tmp_path):
    """What is loaded, recorded and lowered is not copied (benchmarks/memory.py measures it)."""
    path = tmp_path / "w.safetensors"
    write(path, values(1))
    net = Net().load_weights(path)
    graph = trtnet.record(net, x=Input((1, 4)))
    assert graph.state_dict()["first.weight"] is net.state_dict()["first.weight"]
    assert kept(net.state_dict()["first.weight"]) is not net.state_dict()["first.weight"]
    if os.name != "nt":
        rtx = needs_rtx()
        network = rtx.create_network(rtx.builder())
        owners = {holding.name: holding.owner for holding in graph.lower(network).ledger}
        assert owners["first.bias"] == "memory-mapped file"
