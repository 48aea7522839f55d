"""A saved engine survives a kill at any moment: what is loaded is the old one or the new one, whole."""

from __future__ import annotations

import os
import random
import signal
import sys
from pathlib import Path

import filelock
import numpy as np
import pytest

import trtnet
import trtnet.storing
import trtnet.weights.files
from trtnet import Input, nn, storing
from trtnet.errors import WeightsError, WeightsNotFoundError
from trtnet.plan import Plan
from trtnet.storing import Files

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
GRAPH = trtnet.record(nn.Linear(3, 2), input=Input((1, 3)))


def made(tag: int, refit: bool = True) -> Plan:
    """A plan whose bytes, weights and manifest all say `tag`."""
    weights = {"weight": np.full((2, 3), tag, np.float32), "bias": np.full((2,), tag, np.float32)}
    return Plan(
        bytes([tag]) * 5000, (), "tensorrt", str(tag), 0.0, False, GRAPH, {}, weights,
        frozenset(weights) if refit else frozenset(),
    )  # fmt: skip


def tag_of(path) -> int:
    plan = Plan.load(path)
    tags = {int(plan.version), *plan.data, *(int(v) for a in plan.parameters.values() for v in a.reshape(-1))}
    assert len(tags) == 1, f"a mixture of {tags}"
    assert len(plan.data) == 5000
    return tags.pop()


def child_that(work) -> int:
    pid = os.fork()
    if pid == 0:
        try:
            work()
        finally:
            os._exit(0)
    return pid


def test_round_trip(tmp_path):
    path = made(7).save(tmp_path / "net.fp32.engine")
    plan = Plan.load(path)
    assert plan.data == bytes([7]) * 5000
    assert plan.graph.structure_hash() == GRAPH.structure_hash()
    assert plan.refittable == {"weight", "bias"}
    assert sorted(p.name for p in tmp_path.iterdir() if not p.name.startswith(".")) == [
        "net.fp32.engine",
        "net.fp32.engine.json",
        "net.fp32.engine.safetensors",
    ]


def test_weights_of_the_old_engine_go_when_the_new_has_none(tmp_path):
    path = made(1).save(tmp_path / "net.fp32.engine")
    made(2, refit=False).save(path)
    assert not path.with_name(path.name + ".safetensors").exists()
    assert Plan.load(path).version == "2"


@needs_fork
@pytest.mark.parametrize("refit", [True, False])
def test_killed_at_every_step(tmp_path, refit):
    """Kill before the n-th rename, removal or flush of a save, for every n there is."""
    path = tmp_path / "net.fp32.engine"
    outcomes = []
    for step in range(1, 40):
        made(1).save(path)
        assert tag_of(path) == 1

        def work(step=step):
            left = [step]

            def before(function):
                def counted(*args, **kwargs):
                    left[0] -= 1
                    if left[0] == 0:
                        os.kill(os.getpid(), signal.SIGKILL)
                    return function(*args, **kwargs)

                return counted

            os.replace, os.fsync, os.unlink = before(os.replace), before(os.fsync), before(os.unlink)
            made(2, refit).save(path)

        _, status = os.waitpid(child_that(work), 0)
        outcomes.append(tag_of(path))
        if not os.WIFSIGNALED(status):
            break
    assert outcomes == sorted(outcomes), "once the new engine counts, it stays"
    assert outcomes[0] == 1
    assert outcomes[-1] == 2
    assert 1 < outcomes.index(2) < len(outcomes) - 1, "kills on both sides of the moment from which the new one counts"


@needs_fork
def test_a_thousand_kills_at_any_moment(tmp_path):
    path = tmp_path / "net.fp32.engine"
    plans = [made(tag) for tag in range(4)]
    plans[0].save(path)
    chance, seen = random.Random(0), set()
    for _ in range(1000):
        moment, first = chance.uniform(1e-6, 0.012), chance.randrange(4)

        def work(moment=moment, tag=first):
            signal.signal(signal.SIGALRM, signal.SIG_DFL)  # ends the process at once, as SIGKILL does
            signal.setitimer(signal.ITIMER_REAL, moment)
            while True:
                tag = (tag + 1) % 4
                plans[tag].save(path)

        _, status = os.waitpid(child_that(work), 0)
        assert os.WTERMSIG(status) == signal.SIGALRM
        seen.add(tag_of(path))
    assert seen == {0, 1, 2, 3}, "the children did save"
    made(3).save(path)
    assert [p.name for p in tmp_path.iterdir() if ".next" in p.name or ".draft" in p.name] == []
    assert tag_of(path) == 3


@needs_fork
def test_read_while_another_process_saves(tmp_path):
    path = made(0).save(tmp_path / "net.fp32.engine")

    def work():
        for tag in range(200):
            made(tag % 4).save(path)

    pid = child_that(work)
    reads = 0
    while os.waitpid(pid, os.WNOHANG) == (0, 0):
        tag_of(path)
        reads += 1
    assert reads > 5


@pytest.mark.parametrize("moment", ["weights.files.read", "storing._digest"])
def test_replaced_in_the_middle_of_a_read(tmp_path, monkeypatch, moment):
    path = made(1).save(tmp_path / "net.fp32.engine")
    module = trtnet.weights.files if moment.startswith("weights") else trtnet.storing
    name = moment.rpartition(".")[2]
    original, left = getattr(module, name), [2]

    def slow(file):
        if left and (tag := left.pop()):
            made(tag).save(path)
        return original(file)

    monkeypatch.setattr(module, name, slow)
    assert tag_of(path) == 2


def change(path, at, value):
    data = bytearray(path.read_bytes())
    data[at] ^= value
    path.write_bytes(bytes(data))


def test_damaged_files_say_so(tmp_path):
    path = made(5).save(tmp_path / "net.fp32.engine")
    weights, manifest = (path.with_name(path.name + suffix) for suffix in (".safetensors", ".json"))
    whole = {p: p.read_bytes() for p in (path, weights, manifest)}

    def restore():
        for p, data in whole.items():
            p.write_bytes(data)

    path.write_bytes(whole[path][:-100])
    with pytest.raises(WeightsError, match=r"(?s)not the plan.*5,000 bytes.*4,900 bytes.*cut off.*copy the file again"):
        Plan.load(path)
    restore()
    for at in (0, 2500, 4999):
        change(path, at, 1)
        with pytest.raises(WeightsError, match=r"(?s)not the plan that its manifest.*changed, or another"):
            Plan.load(path)
        restore()
    change(weights, len(whole[weights]) - 1, 1)
    with pytest.raises(WeightsError, match="holds other weights than the manifest names"):
        Plan.load(path)
    restore()
    weights.unlink()
    with pytest.raises(WeightsNotFoundError, match=r"(?s)the weights of this engine.*copy them together"):
        Plan.load(path)
    restore()
    manifest.write_bytes(whole[manifest][:100])
    with pytest.raises(WeightsError, match="is no manifest of an engine"):
        Plan.load(path)
    restore()
    manifest.write_bytes(whole[manifest].replace(b'"nn.Linear"', b'"nn.Bilinear"').replace(b'"VECTOR"', b'"NONE"'))
    Plan.load(path)
    manifest.write_bytes(whole[manifest].replace(b'"fully_connected"', b'"?"').replace(b"FullyConnected", b"Fully"))
    with pytest.raises(WeightsError, match="unknown kind of layer"):
        Plan.load(path)
    restore()
    assert tag_of(path) == 5


def test_a_manifest_of_other_weights_is_refused(tmp_path):
    path = made(5).save(tmp_path / "net.fp32.engine")
    other = trtnet.record(nn.Linear(4, 2), input=Input((1, 4)))
    weights = {"weight": np.zeros((2, 4), np.float32), "bias": np.zeros(2, np.float32)}
    plan = Plan(bytes([5]) * 5000, (), "tensorrt", "5", 0.0, False, other, {}, weights, frozenset(weights))
    there = plan.save(tmp_path / "other.fp32.engine")
    path.with_name(path.name + ".json").write_bytes(there.with_name(there.name + ".json").read_bytes())
    with pytest.raises(WeightsError, match="holds other weights than the manifest names"):
        Plan.load(path)


def test_read_only_folder_with_a_killed_save(tmp_path):
    """A reader takes the new engine from where a killed save left it, and writes nothing."""
    path = made(1).save(tmp_path / "net.fp32.engine")
    files = Files(path)
    new = made(2).save(tmp_path / "new.fp32.engine")
    for suffix in ("", ".json", ".safetensors"):
        os.replace(new.with_name(new.name + suffix), files.next(suffix))
    before = sorted(os.listdir(tmp_path))
    assert tag_of(path) == 2
    assert sorted(os.listdir(tmp_path)) == before


def test_unwritable(tmp_path):
    with pytest.raises(WeightsNotFoundError, match="does not exist"):
        made(1).save(tmp_path / "nowhere" / "net.fp32.engine")
    with pytest.raises(trtnet.errors.ArgumentError, match=r"ends in \.engine"):
        made(1).save(tmp_path / "net.plan")


if sys.platform == "win32":
    pytestmark = pytest.mark.skip(reason="kills are tried on POSIX systems")


def test_writers_take_turns_though_the_lock_is_another_users(tmp_path, monkeypatch):
    path, taken = tmp_path / "net.engine", []

    class Lock(storing.FileLock):
        def acquire(self, *args, **options):
            taken.append(Path(self.lock_file).name)
            if len(taken) == 1:
                raise PermissionError(13, "Permission denied", self.lock_file)
            return super().acquire(*args, **options)

    monkeypatch.setattr(storing, "FileLock", Lock)
    with storing.one_writer(path):
        assert len(set(taken)) == 2
        other = filelock.FileLock(Path(storing._lock_file(path)).with_name(taken[1]))
        with pytest.raises(filelock.Timeout):
            other.acquire(timeout=0)
    other.acquire(timeout=0)
    other.release()
