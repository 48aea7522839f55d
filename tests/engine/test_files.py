"""A saved engine survives a kill at any moment: what is loaded is the old one or the new one, whole."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import stat
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import filelock
import numpy as np
import pytest
from kills import child_that, killed_at, killed_everywhere, needs_fork

import trtnet
import trtnet.engine.files
import trtnet.weights.files
from trtnet import Input, nn
from trtnet.basics import disk
from trtnet.engine import files as storing
from trtnet.engine.files import Files
from trtnet.engine.plan import Plan
from trtnet.errors import TrtnetError, WeightsError, WeightsNotFoundError
from trtnet.tensorrt.build.plan_cache import PlanCache

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
    """Kill before the n-th operation of a save, for every n there is; the next save works and leaves three files."""
    path = tmp_path / "net.fp32.engine"
    made(1).save(path)
    outcomes, step, killed = [], 0, True
    while killed:
        step += 1
        killed = killed_at(step, lambda: made(2, refit).save(path))
        outcomes.append(tag_of(path))
        made(1).save(path)
        assert tag_of(path) == 1
        assert sorted(os.listdir(tmp_path)) == [path.name + suffix for suffix in ("", ".json", ".safetensors")]
    assert outcomes == sorted(outcomes), "once the new engine counts, it stays"
    assert outcomes[0] == 1
    assert outcomes[-1] == 2
    assert 5 < outcomes.index(2) < len(outcomes) - 5, "kills on both sides of the moment from which the new one counts"


@needs_fork
@pytest.mark.parametrize("suffix", [".safetensors", ".npz", ".pt", ".wts"])
def test_weights_killed_at_every_step(tmp_path, suffix):
    if suffix == ".pt":
        pytest.importorskip("torch")
    path, old, new = tmp_path / f"w{suffix}", np.full(9, 1, np.float32), np.full(9, 2, np.float32)
    write, read = trtnet.weights.files.write, trtnet.weights.files.read
    write(path, {"a": old})
    outcomes, step, killed = [], 0, True
    while killed:
        step += 1
        killed = killed_at(step, lambda: write(path, {"a": new}))
        outcomes.append(float(read(path)["a"][0]))
        write(path, {"a": old})
        assert os.listdir(tmp_path) == [path.name]
    assert outcomes == sorted(outcomes)
    assert outcomes[0] == 1
    assert outcomes[-1] == 2


@needs_fork
def test_plans_in_a_cache_killed_at_every_step(tmp_path):
    cache, outcomes, step, killed = PlanCache(tmp_path), [], 0, True
    cache.write("key", b"1", "")
    while killed:
        step += 1
        killed = killed_at(step, lambda: cache.write("key", b"2", ""))
        outcomes.append(cache.read("key")[0])
        cache.write("key", b"1", "")
        assert os.listdir(tmp_path) == ["key.plan"]
    assert outcomes == sorted(outcomes)
    assert outcomes[-1] == b"2"


@needs_fork
def test_kills_one_after_the_other(tmp_path):
    """At each operation and within the bytes of the three files; nothing is mended between two kills."""
    path = tmp_path / "net.fp32.engine"
    plans = [made(tag) for tag in range(4)]
    plans[0].save(path)
    turn, outcomes, old = [1], {True: set(), False: set()}, 0
    for killed in killed_everywhere(lambda: plans[turn[0]].save(path), 97):
        found, new = tag_of(path), turn[0]
        assert found in (old, new), "the old one or the new one, whole"
        outcomes[killed].add(found == new)
        if not killed:
            assert sorted(os.listdir(tmp_path)) == [path.name + suffix for suffix in ("", ".json", ".safetensors")]
        old, turn[0] = found, (found + 1) % 4
    assert outcomes == {True: {False, True}, False: {True}}


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


@pytest.mark.parametrize("moment", [0, 1, 2], ids=["manifest", "plan", "weights"])
def test_replaced_in_the_middle_of_a_read(tmp_path, monkeypatch, moment):
    path = made(1).save(tmp_path / "net.fp32.engine")
    original, calls = storing.read_bytes, []

    def slow(file):
        if threading.get_ident() == calling and len(calls) == moment and not calls.append(file):
            made(2).save(path)
        elif threading.get_ident() == calling:
            calls.append(file)
        return original(file)

    calling = threading.get_ident()
    monkeypatch.setattr(storing, "read_bytes", slow)
    assert tag_of(path) == 2


@pytest.mark.parametrize("suffix", ["", ".json", ".safetensors"])
def test_a_folder_in_the_place_of_a_file(tmp_path, suffix):
    path = tmp_path / "net.fp32.engine"
    place = path.with_name(path.name + suffix)
    place.mkdir()
    with pytest.raises(WeightsError, match=r"(?s)is a folder.*remove it, or save the engine under another name"):
        made(1).save(path)
    assert os.listdir(tmp_path) == [place.name]
    place.rmdir()
    made(1).save(path)
    assert tag_of(path) == 1


@pytest.mark.parametrize("damage", [b"{", b"[]", b"null", b"[" * 100_000, b'{"provider": 3}', b"\xff", b""])
def test_a_damaged_manifest_of_a_killed_save_does_not_block_later_ones(tmp_path, damage):
    path = made(1).save(tmp_path / "net.fp32.engine")
    waiting = Files(path).next(".json")
    waiting.write_bytes(damage)
    with pytest.raises(WeightsError, match=r"(?s)no manifest of an engine.*save the engine again"):
        Plan.load(path)
    made(2).save(path)
    assert tag_of(path) == 2
    assert not waiting.exists()


@pytest.mark.parametrize("suffix", ["", ".json", ".safetensors"])
def test_a_pipe_or_a_folder_is_not_waited_for(tmp_path, suffix):
    path = made(1).save(tmp_path / "net.fp32.engine")
    place = path.with_name(path.name + suffix)
    for make in (os.mkfifo, os.mkdir):
        place.unlink()
        make(place)
        with pytest.raises(WeightsError, match=r"(?s)cannot be read.*save the engine again"):
            Plan.load(path)
        if make is os.mkfifo:
            made(2).save(path)
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

    class Lock(disk.FileLock):
        def acquire(self, *args, **options):
            taken.append(Path(self.lock_file).name)
            if len(taken) == 1:
                raise PermissionError(13, "Permission denied", self.lock_file)
            return super().acquire(*args, **options)

    monkeypatch.setattr(disk, "FileLock", Lock)
    with disk.one_writer(path):
        assert len(set(taken)) == 2
        other = filelock.FileLock(Path(disk.lock_file(path)).with_name(taken[1]))
        with pytest.raises(filelock.Timeout):
            other.acquire(timeout=0)
    other.acquire(timeout=0)
    other.release()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
@pytest.mark.parametrize("kind", ["pipe", "socket", "folder", "link to a pipe", "loop"])
@pytest.mark.parametrize("suffix", [".safetensors", ".npz", ".npy", ".pt", ".pth", ".wts"])
def test_what_is_no_file_is_refused_and_nothing_waits(tmp_path: Path, kind: str, suffix: str) -> None:
    path = no_file(kind, tmp_path / f"w{suffix}")
    with pytest.raises(TrtnetError) as caught, at_most(5):
        nn.Linear(3, 4).load_weights(path)
    assert f"w{suffix}" in str(caught.value)
    if suffix in (".safetensors", ".npz", ".wts") and kind != "loop":
        before = path.stat()
        with pytest.raises(WeightsError, match="is a folder" if kind == "folder" else "is no regular file"), at_most(5):
            nn.Linear(3, 4).save_weights(path)
        assert path.stat() == before, "it stays"
        assert {one.name for one in tmp_path.iterdir()} <= {path.name, "other"}


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
@pytest.mark.parametrize("kind", ["pipe", "socket", "folder", "link to a pipe", "loop"])
@pytest.mark.parametrize("name", ["net.engine.json", "net.engine.safetensors"])
def test_an_engine_of_which_a_part_is_no_file(tmp_path: Path, kind: str, name: str) -> None:
    engine = trtnet.reference(trtnet.record(nn.Linear(3, 4), input=Input((2, 3))))
    path = tmp_path / "net.engine"
    engine.save(path)
    (tmp_path / name).unlink()
    no_file(kind, tmp_path / name)
    with pytest.raises(TrtnetError) as caught, at_most(5):
        trtnet.load(path)
    assert "net.engine" in str(caught.value)
    if kind == "folder":
        with pytest.raises(WeightsError, match="is a folder"):
            engine.save(path)
    else:
        with at_most(5):
            engine.save(path)
        assert trtnet.load(path)(np.zeros((2, 3), np.float32)).shape == (2, 4)
        assert not (tmp_path / "other").exists() or stat.S_ISFIFO((tmp_path / "other").stat().st_mode), "it stays"


def no_file(kind: str, path: Path) -> Path:
    """Make something that is no regular file."""
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "socket":
        before = Path.cwd()
        os.chdir(path.parent)  # a socket's path is short
        try:
            with socket.socket(socket.AF_UNIX) as made:
                made.bind(path.name)
        finally:
            os.chdir(before)
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to(path.with_name("other") if kind == "link to a pipe" else path)
        if kind == "link to a pipe":
            os.mkfifo(path.with_name("other"))
    return path


@contextlib.contextmanager
def at_most(seconds: int) -> Iterator[None]:
    """Fail where what is inside takes longer, as what waits for the other end of a pipe does."""

    def late(*_: object) -> None:
        pytest.fail(f"took more than {seconds} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
