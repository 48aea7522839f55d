"""What holds on every road: a publish is whole or not there, followers get it all, and say where they are."""

from __future__ import annotations

import asyncio
import doctest
import os
import tempfile
import threading
import time
import uuid
from itertools import count

import ml_dtypes
import numpy as np
import pytest
from kills import killed_at_line, needs_fork

import trtnet
from trtnet import Input, fleet, nn
from trtnet.errors import ArgumentError, ArgumentTypeError, DtypeError, FleetError, StaleWeightsError, WeightsError

pytest.importorskip("torch")
pytest.importorskip("xxhash")

SCHEMES = ["dir", "shm"]


@pytest.fixture(params=SCHEMES)
def where(request, tmp_path):
    if request.param == "dir":
        yield f"dir:{tmp_path / 'weights'}"
        return
    pytest.importorskip("fcntl")
    yield f"shm:test-{uuid.uuid4().hex}"


class Stamped(nn.Module):
    """Gives what its tensors hold: of each the smallest and the largest number."""

    def __init__(self, sizes=(3, 5, 64)):
        super().__init__()
        for number, size in enumerate(sizes):
            self.register_parameter(f"w{number}", nn.Parameter(np.zeros(size, np.float32)))
        self.count = len(sizes)

    def forward(self, x):
        every = [getattr(self, f"w{number}") for number in range(self.count)]
        lows = [trtnet.amin(one + x) for one in every]
        return trtnet.stack(lows + [trtnet.amax(one + x) for one in every])


def graph_of(module=None):
    return trtnet.record(module or Stamped(), x=Input((1,)))


def stamped(number, sizes=(3, 5, 64)):
    return {f"w{at}": np.full(size, number, np.float32) for at, size in enumerate(sizes)}


def read_back(engine):
    """The version that every tensor has, by the network itself."""
    seen = set(engine(np.zeros(1, np.float32)).tolist())
    assert len(seen) == 1, f"a mixture: {seen}"
    return seen.pop()


def fresh():
    return trtnet.reference(graph_of())


def test_versions_go_from_one_to_many(where):
    engines = [fresh() for _ in range(3)]
    with fleet.Publisher(where, graph=engines[0]) as publisher:
        followers = [fleet.Follower(engine, where) for engine in engines]
        assert [one.poll() for one in followers] == [None] * 3
        assert {(one.version, one.lag, one.age) for one in followers} == {(None, None, None)}
        for version in (17, 18, 40):
            report = publisher.publish(stamped(version), version=version)
            assert (report.version, set(report.changed)) == (version, {"w0", "w1", "w2"})
            assert followers[0].lag > 0
            for one in followers:
                assert one.poll().given
                assert (one.version, one.lag, one.poll()) == (version, 0, None)
                assert 0 <= one.age < 60
                assert read_back(one.engine) == version
                assert one(np.zeros(1, np.float32), with_version=True)[1] == one.engine.version == version
        publisher.publish(stamped(40), version=41)  # the same ones, under another number
        assert all(one.poll() for one in followers)
        assert {one.engine.version for one in followers} == {41}
        publisher.publish(stamped(40), version=40)
        with pytest.warns(UserWarning, match="went back"):
            assert all(one.poll().went_back for one in followers)
        assert publisher.metrics()["publishes"] == 5
        assert publisher.metrics()["version"] == 40
        found = followers[1].metrics()
        assert (found["refits"], found["version"], found["lag"], found["alive"]) == (5, 40, 0, 1)
        assert found["bytes"] >= 3 * 72 * 4


def test_a_late_follower_gets_the_newest_and_skips_what_was_between(where):
    with fleet.Publisher(where) as publisher:
        for version in range(5):
            publisher.publish(stamped(version), version=version)
        follower = fleet.Follower(fresh(), where)
        follower.poll()
        assert (follower.version, read_back(follower.engine)) == (4, 4)
        for version in range(5, 9):
            publisher.publish(stamped(version) | {"w0": np.full(3, 8, np.float32)}, version=version)
        follower.poll()
        assert (follower.version, read_back(follower.engine)) == (8, 8)


def test_every_kind_of_tensor_arrives(where):
    import torch

    given = {
        "half": torch.arange(6).half().reshape(2, 3), "brain": torch.arange(4).bfloat16(), "none": torch.zeros(0, 2),
        "one": torch.tensor(3.5), "strided": torch.arange(12.0).reshape(3, 4).t(), "long": torch.arange(3),
        "bool": torch.tensor([True, False]), "numpy": np.arange(6, dtype=np.int8)[::2], "ours": trtnet.ones(2),
        "bf": np.arange(3).astype(ml_dtypes.bfloat16), "double": np.arange(2.0),
        "grad": torch.nn.Parameter(torch.ones(2)), "fp8": np.ones(5, ml_dtypes.float8_e4m3fn),
    }  # fmt: skip
    with fleet.Publisher(where) as publisher:
        publisher.publish(given)
        with publisher.road.receiver().receive() as update:
            assert list(update.values) == list(given)
            for name, value in update.values.items():
                array = given[name]
                expected = array.detach().float().numpy() if isinstance(array, torch.Tensor) else np.asarray(array)
                assert value.shape == expected.shape, name
                assert value.astype(np.float32).tolist() == expected.astype(np.float32).tolist(), name
            assert {value.dtype.name for value in update.values.values()} >= {"bfloat16", "float16", "float8_e4m3fn"}


def test_a_module_is_published_as_its_state_dict(where):
    import torch

    module = torch.nn.Linear(3, 2)
    engine = trtnet.reference(trtnet.record(nn.Linear(3, 2), input=Input((1, 3))))
    with fleet.Publisher(where) as publisher, fleet.Follower(engine, where) as follower:
        assert publisher.publish(torch.nn.ModuleDict({"actor": module})).version == 0
        with pytest.raises(WeightsError, match="prefix='actor"):
            follower.poll()
        follower.close()
        follower = fleet.Follower(engine, where, prefix="actor.")
        follower.poll()
        x = torch.randn(1, 3)
        torch.testing.assert_close(engine(x), module(x).detach())


def test_what_is_no_state_dict_is_refused(where):
    with fleet.Publisher(where) as publisher:
        publisher.publish(stamped(1))
        for wrong, error in (
            ([1], ArgumentTypeError), ({"step": 3}, WeightsError), ({3: np.ones(2)}, ArgumentTypeError),
            ({"z": np.ones(2, np.complex64)}, DtypeError),
        ):  # fmt: skip
            with pytest.raises(error):
                publisher.publish(wrong)
        with pytest.raises(ArgumentTypeError, match="whole number"):
            publisher.publish(stamped(2), version=2.0)
        assert publisher.metrics()["failures"] == 4
        follower = fleet.Follower(fresh(), where)
        follower.poll()
        assert (read_back(follower.engine), follower.version) == (1, 0)
        assert publisher.publish(stamped(2)).version == 1


def test_a_version_that_goes_back_is_said_and_followed(where):
    with fleet.Publisher(where) as publisher, fleet.Follower(fresh(), where) as follower:
        publisher.publish(stamped(17), version=17)
        follower.poll()
        publisher.publish(stamped(10), version=10)
        assert follower.lag == 7
        with pytest.warns(UserWarning, match="went back from version 17 to 10"):
            follower.poll()
        assert (follower.version, follower.lag, read_back(follower.engine)) == (10, 0, 10)
        publisher.publish(stamped(11), version=10)  # other weights under the same number
        assert follower.lag == 1
        follower.poll()
        assert read_back(follower.engine) == 11
        assert follower.metrics()["went_back"] == 1


def test_another_structure_is_refused(where):
    with fleet.Publisher(where, graph=graph_of()) as publisher:
        publisher.publish(stamped(1), version=1)
        other = trtnet.reference(graph_of(Stamped((3, 5, 65))))
        follower = fleet.Follower(other, where)
        with pytest.raises(WeightsError, match="another structure"):
            follower.poll()
        assert (read_back(other), follower.version, follower.metrics()["failures"]) == (0, None, 1)
    with fleet.Publisher(where + "-unnamed") as publisher:  # no graph was named: by shapes
        publisher.publish(stamped(1), version=1)
        with pytest.raises(WeightsError, match="misshapen"):
            fleet.Follower(other, where + "-unnamed").poll()
        assert read_back(other) == 0


def test_another_publisher_goes_on_where_one_ended(where):
    follower = fleet.Follower(fresh(), where)
    for version in range(3):
        with fleet.Publisher(where) as publisher:
            publisher.publish(stamped(version), version=version)
            follower.poll()
            assert (follower.version, read_back(follower.engine), follower.alive) == (version, version, True)
        assert follower.alive is False
        assert (follower.version, read_back(follower.engine)) == (version, version)
        with pytest.raises(FleetError, match="it was closed"):
            publisher.publish(stamped(9))
    follower.close()
    with pytest.raises(FleetError, match="it was closed"):
        follower.poll()


def test_a_silent_publisher_is_noticed(where):
    publisher = fleet.Publisher(where, heartbeat=0.3)
    follower = fleet.Follower(fresh(), where)
    started = time.monotonic()
    while time.monotonic() - started < 0.6:
        assert follower.alive
        time.sleep(0.02)
    publisher._stop.set()  # as if it hung
    publisher._thread.join()
    started = time.monotonic()
    while follower.alive:
        assert time.monotonic() - started < 30
        time.sleep(0.02)
    publisher.close()


def test_a_thread_follows(where):
    with fleet.Publisher(where) as publisher, fleet.Follower(fresh(), where).start(0.002) as follower:
        for version in range(1, 6):
            publisher.publish(stamped(version), version=version)
            until(lambda version=version: follower.version == version)
            assert read_back(follower.engine) == version
        with pytest.raises(FleetError, match="in a thread already"):
            follower.start()
    assert not follower._thread.is_alive()


def until(condition, seconds=60):
    started = time.monotonic()
    while not condition():
        assert time.monotonic() - started < seconds, "it did not happen"
        time.sleep(0.002)


def test_a_thread_keeps_what_it_has_and_says_so(where):
    with fleet.Publisher(where) as publisher, fleet.Follower(fresh(), where) as follower:
        publisher.publish(stamped(1), version=1)
        follower.poll()

        def fail():
            publisher.publish(stamped(2) | {"other": np.ones(3, np.float32)}, version=2)
            follower.start(0.002)
            until(lambda: follower.error is not None and follower.metrics()["failures"] > 2)

        with pytest.warns(UserWarning, match="keeps what it has"):
            fail()
        assert "extra" in str(follower.error)
        assert (follower.version, read_back(follower.engine)) == (1, 1)
        publisher.publish(stamped(3), version=3)
        until(lambda: follower.version == 3)
        assert follower.error is None


def test_a_task_waits_for_the_next(where):
    with fleet.Publisher(where) as publisher, fleet.Follower(fresh(), where) as follower:

        async def main():
            for version in (1, 2):
                waiting = asyncio.create_task(follower.next())
                await asyncio.sleep(0.01)
                assert not waiting.done()
                publisher.publish(stamped(version), version=version)
                assert (await waiting).given
                assert read_back(follower.engine) == version
            follower.start(0.002)
            waiting = asyncio.create_task(follower.next())
            await asyncio.sleep(0.01)
            publisher.publish(stamped(3), version=3)
            await waiting
            assert (follower.version, read_back(follower.engine)) == (3, 3)

        asyncio.run(main())


def test_calls_keep_the_bound_on_lag(where):
    x = np.zeros(1, np.float32)
    with fleet.Publisher(where) as publisher:
        loose, warns, raises, blocks = (
            fleet.Follower(fresh(), where, max_lag=most, on_lag=how)
            for most, how in ((None, "warn"), (2, "warn"), (2, "raise"), (0, "block"))
        )
        for one in (loose, warns, raises, blocks):
            one(x)  # nothing was published
        publisher.publish(stamped(2), version=2)
        assert blocks(x)[0] == 2
        for one in (loose, warns, raises):
            assert one(x)[0] == 0
        publisher.publish(stamped(3), version=3)
        assert loose(x)[0] == 0
        with pytest.warns(UserWarning, match="3 versions behind"):
            warns(x)
        warns(x)  # said once
        with pytest.raises(StaleWeightsError, match="3 versions behind") as found:
            raises(x)
        assert "poll" in found.value.remedy
        raises.poll()
        assert raises(x)[0] == 3
        assert blocks(x)[0] == 3
        assert (blocks.metrics()["waits"], blocks.metrics()["calls"]) == (2, 3)
        blocks.patience = 0.02
        publisher.publish({"w0": np.zeros(4, np.float32)}, version=4)
        with pytest.raises(WeightsError):
            blocks(x)
        blocks.start(1000)
        with pytest.raises(StaleWeightsError):
            blocks(x)


def test_a_blocked_call_goes_on_when_the_thread_has_caught_up(where):
    with fleet.Publisher(where) as publisher:
        follower = fleet.Follower(trtnet.HotSwap(fresh()), where, max_lag=0, on_lag="block").start(0.002)
        for version in range(1, 20):
            publisher.publish(stamped(version), version=version)
            assert set(follower(np.zeros(1, np.float32)).tolist()) == {version}
        follower.close()


def test_a_publish_that_lacks_keys_is_no_mixture(where):
    with fleet.Publisher(where) as publisher, fleet.Follower(fresh(), where) as follower:
        publisher.publish(stamped(1), version=1)
        follower.poll()
        publisher.publish({"w0": np.full(3, 2, np.float32)}, version=2)
        with pytest.raises(WeightsError, match="a mixture"):
            follower.poll()
        assert (follower.version, read_back(follower.engine)) == (1, 1)
        publisher.publish(stamped(3), version=3)
        follower.poll()
        assert read_back(follower.engine) == 3


def test_what_others_refit_meanwhile_is_no_mixture(where):
    with fleet.Publisher(where) as publisher, fleet.Follower(fresh(), where) as follower:
        publisher.publish(stamped(1), version=1)
        follower.poll()
        follower.engine.refit(stamped(9))
        publisher.publish(stamped(1) | {"w0": np.full(3, 1, np.float32)}, version=2)  # the same values
        follower.poll()
        assert (follower.version, read_back(follower.engine)) == (2, 1)


def test_wrong_arguments(where):
    for wrong in ("nowhere", "shn:policy", "dir:", "shm:a/b"):
        with pytest.raises(ArgumentError):
            fleet.Publisher(wrong)
    with pytest.raises(ArgumentTypeError):
        fleet.Publisher(3)
    with pytest.raises(ArgumentError, match="heartbeat"):
        fleet.Publisher(where, heartbeat=0)
    with pytest.raises(ArgumentTypeError, match="structure"):
        fleet.Publisher(where, graph=3)
    with pytest.raises(ArgumentTypeError, match="an engine"):
        fleet.Follower(graph_of(), where)
    with pytest.raises(ArgumentError, match="on_lag"):
        fleet.Follower(fresh(), where, on_lag="wait")
    with pytest.raises(ArgumentError, match="max_lag"):
        fleet.Follower(fresh(), where, max_lag=-1)


def test_calls_in_other_threads_never_see_a_mixture(where):
    engine = fresh()
    follower = fleet.Follower(engine, where).start(0.0005)
    seen, stop = set(), threading.Event()

    def call():
        while not stop.is_set():
            result, version = engine(np.zeros(1, np.float32), with_version=True)
            seen.add((version or 0, *set(result.tolist())))

    with fleet.Publisher(where) as publisher:
        threads = [threading.Thread(target=call) for _ in range(2)]
        for one in threads:
            one.start()
        for version in range(1, 20_000):
            publisher.publish(stamped(version), version=version)
            if len(seen) > 10:
                break
        until(lambda: follower.version == version)
        stop.set()
        for one in threads:
            one.join()
    follower.close()
    assert read_back(engine) == version
    assert len(seen) > 10
    assert all(stamp == version for version, stamp in seen), "a mixture, or a call that names other weights"


@needs_fork
def test_a_publisher_may_be_killed_at_any_line(where):
    """The version before is there, or the new one, whole; and the next publisher goes on. LINES_APART=1: every line."""
    apart = int(os.environ.get("LINES_APART", "23"))
    follower = fleet.Follower(fresh(), where)
    receiver = follower.road.receiver()
    with fleet.Publisher(where) as publisher:
        publisher.publish(stamped(0), version=0)
        if where.startswith("shm"):
            publisher._end.detach()  # closing would remove it
            publisher._sender._forked()
    version, killed = 0, []

    def work():
        one = fleet.Publisher(where)
        one.publish(stamped(version + 1), version=version + 1)
        one.publish(stamped(version + 2), version=version + 2)

    for step in count(1, apart):
        before = version
        killed.append(killed_at_line(step, os.path.join("trtnet", "fleet"), work))
        follower.poll()
        assert read_back(follower.engine) == (follower.version or 0)
        version = follower.version or 0
        assert before <= version <= before + 2
        assert receiver.head() is not None
        if not killed[-1]:
            break
    assert len(killed) > 5
    assert killed[0]
    assert version >= 2


@needs_fork
def test_neither_end_is_used_in_a_forked_child(where):
    publisher = fleet.Publisher(where)
    publisher.publish(stamped(1), version=1)
    follower = fleet.Follower(fresh(), where)
    follower.poll()
    pid = os.fork()
    if pid == 0:
        refused = 0
        for use in (lambda: publisher.publish(stamped(2)), follower.poll, lambda: follower(np.zeros(1, np.float32))):
            try:
                use()
            except FleetError as error:
                refused += "forked" in str(error)
        publisher._end()  # as Python does at its end
        os._exit(refused)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 3
    assert follower.alive
    publisher.publish(stamped(2), version=2)
    follower.poll()
    assert read_back(follower.engine) == 2
    publisher.close()


def test_a_publisher_that_nobody_has_any_more_is_closed(where):
    publisher = fleet.Publisher(where)
    publisher.publish(stamped(1))
    follower = fleet.Follower(fresh(), where)
    assert follower.alive
    del publisher
    assert follower.alive is False
    fleet.Publisher(where).close()


def test_example():
    given = {"trtnet": trtnet, "nn": nn, "Input": Input, "np": np, "tempfile": tempfile}
    given |= {"Publisher": fleet.Publisher, "Follower": fleet.Follower}
    runner = doctest.DocTestRunner()
    for test in doctest.DocTestFinder(recurse=False).find(fleet.Publisher, "Publisher", globs=given):
        runner.run(test)
    assert (runner.failures, runner.tries > 3) == (0, True)
