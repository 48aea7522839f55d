"""`ray:`, and pools of actors, on a Ray cluster of this machine's own."""

from __future__ import annotations

import sys

import numpy as np
import pytest

import trtnet
from trtnet import Input, fleet, nn
from trtnet.errors import ArgumentError, ArgumentTypeError, FleetError, ProviderError, ShapeError, WeightsError


def graph(features=3):
    return trtnet.record(nn.Linear(2, features), input=Input((1, 2)))


def state(version):
    return {"weight": np.full((3, 2), version, np.float32), "bias": np.full(3, version, np.float32)}


ZEROS = np.zeros((1, 2), np.float32)


def test_without_ray(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    for use in (lambda: fleet.Publisher("ray:policy"), lambda: pool_of(graph(), 1)):
        with pytest.raises(ProviderError) as found:
            use()
        assert "trtnet[ray]" in found.value.remedy


def pool_of(*args, **kwargs):
    from trtnet.fleet.ray import ActorPool

    return ActorPool(*args, **kwargs)


def test_wrong_arguments():
    for wrong, error in (((graph(), 0), ArgumentError), ((trtnet.nn.Linear(2, 3), 1), ArgumentTypeError)):
        with pytest.raises(error):
            pool_of(*wrong)


def test_outside_a_cluster():
    ray = pytest.importorskip("ray")
    assert not ray.is_initialized()
    with pytest.raises(ArgumentError, match="cluster"):
        fleet.Publisher("ray:policy")


@pytest.fixture(scope="module")
def ray():
    pytest.importorskip("torch")
    ray = pytest.importorskip("ray", reason="ray is not installed; the extra 'ray' brings it")
    environment = {"env_vars": {"PYTHONPATH": ":".join(sys.path)}}
    ray.init(
        num_cpus=4, include_dashboard=False, object_store_memory=100 << 20, log_to_driver=False,
        runtime_env=environment, configure_logging=False,
    )  # fmt: skip
    yield ray
    ray.shutdown()


def test_versions_go_by_the_object_store(ray):
    engine = trtnet.reference(graph())
    follower = fleet.Follower(engine, "ray:versions")
    assert (follower.poll(), follower.lag, follower.alive) == (None, None, False)
    with fleet.Publisher("ray:versions", graph=engine) as publisher:
        for version in (17, 20, 18):
            publisher.publish(state(version), version=version)
            assert follower.lag > 0
            if version == 18:
                with pytest.warns(UserWarning, match="went back"):
                    follower.poll()
            else:
                follower.poll()
            assert set(engine(ZEROS)[0].tolist()) == {version}
        assert (follower.version, follower.lag, follower.alive) == (18, 0, True)
        other = fleet.Follower(trtnet.reference(graph(4)), "ray:versions")
        with pytest.raises(WeightsError, match="structure"):
            other.poll()
        second = fleet.Publisher("ray:versions")
        assert second.version == 18
        with pytest.raises(FleetError, match="taken this name over"):
            publisher.publish(state(19), version=19)
        second.publish(state(21), version=21)
        follower.poll()
        assert set(engine(ZEROS)[0].tolist()) == {21}
        second.close()
    assert not follower.alive
    publisher.road.remove()
    with fleet.Publisher("ray:versions") as third:
        third.publish(state(30), version=30)
        follower.poll()
        assert (follower.version, set(engine(ZEROS)[0].tolist())) == (30, {30})
    third.road.remove()


def test_weights_outlive_the_actor_that_published_them(ray):
    class Trainer:
        def train(self, version):
            self.publisher = fleet.Publisher("ray:outlive")
            self.publisher.publish(state(version), version=version)

    trainer = ray.remote(Trainer).options(num_cpus=0).remote()
    ray.get(trainer.train.remote(5))
    ray.kill(trainer)
    follower = fleet.Follower(trtnet.reference(graph()), "ray:outlive")
    follower.poll()
    assert set(follower.engine(ZEROS)[0].tolist()) == {5}
    follower.road.remove()


def test_a_pool_answers_with_the_newest_weights_and_restarts_what_dies(ray):
    given = graph()
    with (
        fleet.Publisher("ray:pool", graph=given) as publisher,
        pool_of(given, 2, "ray:pool", resources={"num_cpus": 0}, provider="reference") as pool,
    ):
        for version in (1, 2):
            publisher.publish(state(version), version=version)
            answers = pool.map([ZEROS] * 4)
            assert [answer.version for answer in answers] == [version] * 4
            assert {value for answer in answers for value in answer.result[0].tolist()} == {version}
        assert [one["version"] for one in pool.metrics()] == [2, 2]
        publisher.publish(state(3), version=3)
        for actor in pool.actors:
            ray.kill(actor, no_restart=False)
        assert pool(input=ZEROS)[0].tolist() == [3] * 3
        assert [answer.version for answer in pool.map([ZEROS] * 2)] == [3, 3]
        with pytest.raises(ShapeError):
            pool(np.zeros((1, 3), np.float32))
    publisher.road.remove()


def test_a_pool_without_a_publisher(ray):
    net = nn.Linear(2, 3)
    made = trtnet.record(net, input=Input((1, 2)))
    with pool_of(made, 1, resources={"num_cpus": 0}, provider="reference") as pool:
        np.testing.assert_allclose(pool(ZEROS + 1), trtnet.reference(made)(ZEROS + 1), rtol=1e-6)
        assert pool.metrics() == [{}]
