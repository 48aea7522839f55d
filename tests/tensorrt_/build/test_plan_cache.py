"""The plan cache: whole files or none, hits by structure."""

import os
import subprocess

import numpy as np
import pytest
from harness import needs_rtx
from kills import killed_everywhere, needs_fork
from networks import policy

import trtnet
from trtnet.errors import ArgumentError
from trtnet.tensorrt.build.plan_cache import PlanCache


def test_what_is_not_whole_is_a_miss(tmp_path):
    cache = PlanCache(tmp_path)
    cache.write("key", b"plan" * 1000, "digest")
    assert cache.read("key") == (b"plan" * 1000, "digest")
    whole = cache.path("key").read_bytes()
    for broken in (b"", whole[:-1], whole[:50], b"x" + whole, whole[:99] + bytes([whole[99] ^ 1]) + whole[100:]):
        cache.path("key").write_bytes(broken)
        assert cache.read("key") is None
    assert cache.read("other") is None


@needs_fork
def test_kills_during_a_write(tmp_path):
    """At each operation and within the bytes, one after the other: the old plan or the new one, never a part."""
    cache = PlanCache(tmp_path)
    plans = [(bytes([tag]) * 200_000, str(tag)) for tag in range(4)]
    cache.write("key", *plans[0])
    turn, outcomes = [0], {True: set(), False: set()}
    old = plans[0]
    for killed in killed_everywhere(lambda: cache.write("key", *plans[turn[0]]), 20_011):
        found, new = cache.read("key"), plans[turn[0]]
        assert found in (old, new)
        assert killed or (found == new and os.listdir(tmp_path) == [cache.path("key").name])
        outcomes[killed].add(found == new)
        old, turn[0] = found, (plans.index(found) + 1) % 4
    assert outcomes == {True: {False, True}, False: {True}}, (
        "kills on both sides of the moment from which the new counts"
    )


@needs_fork
def test_two_processes_write_the_same_plan(tmp_path):
    """A reader finds one of the wholes at every moment, and no other file stays."""
    plans, children = [(bytes([tag]) * 300_000, str(tag)) for tag in range(2)], []
    PlanCache(tmp_path).write("key", *plans[0])
    for number in range(2):
        child = os.fork()
        if child == 0:
            cache = PlanCache(tmp_path)
            for _ in range(60):
                cache.write("key", *plans[number])
            os._exit(0)
        children.append(child)
    cache, seen, left = PlanCache(tmp_path), set(), set(children)
    while left:
        found = cache.read("key")
        assert found in plans
        seen.add(found[1])
        left -= {child for child in left if os.waitpid(child, os.WNOHANG)[0]}
    assert seen == {"0", "1"}
    assert [path.name for path in tmp_path.iterdir()] == [cache.path("key").name]


def test_plans_are_found_by_structure(tmp_path):
    needs_rtx()
    first = trtnet.build_plan(policy(), "sm86", cache=tmp_path)
    assert not first.cached
    again = trtnet.build_plan(policy(), "sm86", cache=tmp_path)
    assert again.cached
    assert again.data == first.data
    other = policy()
    other.load_state_dict({n: np.asarray(v) + 1 for n, v in other.state_dict().items()})
    for graph, options in ((other, {}), (policy(batch=5), {}), (policy(), {"optimization_level": 1})):
        assert not trtnet.build_plan(graph, "sm86", cache=tmp_path, **options).cached
    assert not trtnet.build_plan(policy(), "sm89", cache=tmp_path).cached
    live = trtnet.build_plan(policy(), "sm86", live=True, cache=tmp_path)
    assert not live.cached
    assert trtnet.build_plan(other, "sm86", live=True, cache=tmp_path).data == live.data


def test_no_folder(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(trtnet.TrtnetError, match=r"(?s)cannot be made.*exists"):
        trtnet.build_plan(policy(), cache=tmp_path / "file")
    with pytest.raises(ArgumentError, match="cache is a folder"):
        trtnet.build_plan(policy(), cache=3)


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="this system has no owners of files")
@pytest.mark.parametrize("mode", [0o777, 0o1777, 0o775, 0o757])
def test_a_folder_that_others_can_write_to(tmp_path, mode):
    folder = tmp_path / "plans"
    folder.mkdir()
    folder.chmod(mode)
    with pytest.raises(ArgumentError, match=r"(?s)others can write to the plan cache.*(everybody|group)") as caught:
        trtnet.build_plan(policy(), cache=folder)
    command = caught.value.remedy.partition(",")[0]
    assert command == f"chmod go-w '{folder}'"
    subprocess.run(command, shell=True, check=True)
    cache = PlanCache(folder)
    cache.write("key", b"plan", "digest")
    assert cache.read("key") == (b"plan", "digest")
    assert PlanCache(tmp_path / "made" / "here").folder.stat().st_mode & 0o077 == 0


@pytest.mark.skipif(not hasattr(os, "getuid") or os.getuid() != 0, reason="only root can give files away")
def test_plans_of_another_user_are_not_taken(tmp_path):
    cache = PlanCache(tmp_path)
    cache.write("key", b"plan", "digest")
    os.chown(cache.path("key"), 12345, 12345)
    assert cache.read("key") is None
    cache.write("key", b"plan", "digest")
    assert cache.read("key") == (b"plan", "digest")
    os.chown(tmp_path, 12345, -1)
    with pytest.raises(ArgumentError, match="its owner, the user 12345"):
        PlanCache(tmp_path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_is_not_waited_for(tmp_path):
    cache = PlanCache(tmp_path)
    os.mkfifo(cache.path("key"), 0o600)
    assert cache.read("key") is None
    cache.write("key", b"plan", "digest")
    assert cache.read("key") == (b"plan", "digest")


def test_what_killed_processes_left_goes_after_an_hour(tmp_path):
    cache = PlanCache(tmp_path)
    old, new = tmp_path / ".trtnet-a-b.tmp", tmp_path / ".trtnet-c-d.tmp"
    for folder in (old, new):
        folder.mkdir()
        (folder / "x.plan").write_bytes(b"x" * 1000)
    os.utime(old, (0, 0))
    cache.write("key", b"plan", "digest")
    assert sorted(os.listdir(tmp_path)) == [new.name, "key.plan"]
