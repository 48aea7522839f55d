"""Metrics, as Prometheus and TensorBoard get them."""

from __future__ import annotations

import doctest
import sys
import uuid

import numpy as np
import pytest

import trtnet
from trtnet import Input, fleet, nn
from trtnet.errors import ArgumentError, ArgumentTypeError, ProviderError

pytest.importorskip("torch")
pytest.importorskip("fcntl")


@pytest.fixture
def ends():
    where = f"shm:test-{uuid.uuid4().hex}"
    engine = trtnet.reference(trtnet.record(nn.Linear(2, 3), input=Input((1, 2))))
    with fleet.Publisher(where, graph=engine) as publisher, fleet.Follower(engine, where) as follower:
        yield {"learner": publisher, "actor-0": follower}


def publish(publisher, version):
    publisher.publish({"weight": np.full((3, 2), version, np.float32), "bias": np.ones(3, np.float32)}, version)


def test_prometheus_reads_what_metrics_say(ends):
    client = pytest.importorskip("prometheus_client")
    registry = client.CollectorRegistry()
    fleet.expose(ends, registry)

    def value(name, end, which):
        return registry.get_sample_value(f"trtnet_fleet_{name}", {"end": end, "name": which})

    assert value("version", "publisher", "learner") is None
    assert value("refits_total", "follower", "actor-0") == 0
    for version in (17, 20):
        publish(ends["learner"], version)
        assert value("version", "publisher", "learner") == version
        assert value("lag", "follower", "actor-0") > 0
        ends["actor-0"].poll()
        assert value("lag", "follower", "actor-0") == 0
    assert value("publishes_total", "publisher", "learner") == 2
    assert value("refits_total", "follower", "actor-0") == 2
    assert value("bytes_total", "follower", "actor-0") == ends["actor-0"].metrics()["bytes"] > 0
    text = client.generate_latest(registry).decode()
    assert 'trtnet_fleet_alive{end="follower",name="actor-0"} 1.0' in text
    ends["second"] = fleet.Follower(ends["actor-0"].engine, ends["actor-0"].road)
    assert value("refits_total", "follower", "second") == 0
    with pytest.raises(ArgumentError, match="already"):
        fleet.expose(ends, registry)
    with pytest.raises(ArgumentTypeError, match="no metrics"):
        fleet.expose({"engine": ends["actor-0"].engine}, registry)


def test_every_metric_has_a_family(ends):
    publish(ends["learner"], 3)
    ends["actor-0"].poll()
    named = set(fleet.metrics.GAUGES) | set(fleet.metrics.COUNTERS)
    assert set(ends["learner"].metrics()) | set(ends["actor-0"].metrics()) == named


def test_without_prometheus_client(ends, monkeypatch):
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    with pytest.raises(ProviderError) as found:
        fleet.expose(ends)
    assert "trtnet[prometheus]" in found.value.remedy


def test_scalars(ends):
    publish(ends["learner"], 3)
    ends["actor-0"].poll()
    said = {}

    class Writer:
        def add_scalar(self, tag, scalar_value, global_step):
            said[tag] = scalar_value, global_step

    fleet.add_scalars(Writer(), ends["actor-0"], 5)
    assert (said["fleet/version"], said["fleet/refits"], said["fleet/lag"]) == ((3, 5), (1, 5), (0, 5))


@pytest.mark.parametrize("name", ["expose", "add_scalars"])
def test_examples(name):
    pytest.importorskip("prometheus_client")
    runner = doctest.DocTestRunner()
    for test in doctest.DocTestFinder(recurse=False).find(
        getattr(fleet, name), name, globs={"trtnet": trtnet, "np": np}
    ):
        runner.run(test)
    assert (runner.failures, runner.tries > 1) == (0, True)
