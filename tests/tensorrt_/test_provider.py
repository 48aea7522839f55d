"""The provider: what is installed, found by name; weights, errors, progress."""

from __future__ import annotations

import functools
import inspect
import logging
import subprocess
import sys
import types
import weakref

import ml_dtypes
import numpy as np
import pytest
from harness import needs_rtx, rtx

import trtnet
from trtnet import dtypes, provider
from trtnet.errors import ArgumentError, BuildError, ProviderError
from trtnet.provider import Provider
from trtnet.tensorrt import device as gpu
from trtnet.tensorrt.callbacks import ProgressMonitor


def test_loading_by_name():
    rtx = needs_rtx()
    assert provider.load("tensorrt_rtx").trt is rtx.trt
    assert (rtx.name, str(rtx)) == ("tensorrt_rtx", f"tensorrt_rtx {rtx.version}")
    with pytest.raises(ArgumentError, match="no such provider") as caught:
        provider.load("onnx")
    assert caught.value.expected == "tensorrt or tensorrt_rtx"


def fake(**members):
    """A TensorRT of another version: its module, with the names that are asked for."""
    module = types.ModuleType("tensorrt")
    module.__version__ = members.pop("version", "8.6.1")

    class ILogger:
        def __init__(self):
            pass

    module.ILogger = ILogger
    for name, names in members.items():
        setattr(module, name, type(name, (), {n: f"{name}.{n}" for n in names}))
    return module


@pytest.fixture
def forget(monkeypatch):
    """Have providers loaded anew, for this test."""

    def forget():
        monkeypatch.setattr(provider, "load", functools.cache(inspect.unwrap(provider.load)))

    return forget


def test_a_provider_that_is_not_installed(monkeypatch, forget):
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", None)
    forget()
    with pytest.raises(ProviderError, match="tensorrt_rtx is not usable here") as caught:
        provider.load("tensorrt_rtx")
    assert "trtnet[rtx]" in caught.value.remedy
    assert "Error" in caught.value.details
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    forget()
    with pytest.raises(ProviderError, match="no TensorRT is installed") as caught:
        provider.find()
    assert "trtnet[rtx]" in caught.value.remedy
    assert provider.executing() is None
    reason = provider.can_execute()
    assert "tensorrt" in reason
    assert "\n" not in reason


def test_find_prefers_tensorrt(monkeypatch, forget):
    monkeypatch.setitem(sys.modules, "tensorrt", fake())
    forget()
    assert provider.find().name == "tensorrt"
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    forget()
    if "tensorrt_rtx" in sys.modules:
        assert provider.find().name == "tensorrt_rtx"


def test_features_are_found_by_name():
    old = Provider("tensorrt", fake(DataType=["FLOAT", "INT32"], NetworkDefinitionCreationFlag=["EXPLICIT_BATCH"]))
    new = Provider(
        "tensorrt",
        fake(version="10.0.1", DataType=["FLOAT", "INT64", "BF16"], NetworkDefinitionCreationFlag=["STRONGLY_TYPED"]),
    )
    assert (old.strongly_typed, new.strongly_typed) == (False, True)
    assert (old.shape_dtype, new.shape_dtype) == (dtypes.int32, dtypes.int64)
    assert old.stored(dtypes.int64) is dtypes.int32
    assert new.stored(dtypes.int64) is dtypes.int64
    assert old.stored(dtypes.float32) is dtypes.float32
    assert old.data_type(dtypes.int64) == "DataType.INT32"
    assert new.data_type(dtypes.int64) == "DataType.INT64"
    assert new.has("DataType", "BF16")
    assert not old.has("DataType", "BF16")
    assert not old.has("NoSuchEnum", "BF16")
    with pytest.raises(ProviderError, match=r"tensorrt 8\.6\.1 has no element type bfloat16") as caught:
        old.data_type(dtypes.bfloat16)
    assert caught.value.remedy
    with pytest.raises(ProviderError, match=r"tensorrt 8\.6\.1 has int8 only for quantized tensors") as caught:
        old.data_type(dtypes.int8)
    assert "int32" in caught.value.remedy
    with pytest.raises(ProviderError, match=r"has no DataType\.FP4") as caught:
        new.enum("DataType", "FP4")
    assert "doctor" in caught.value.remedy


@pytest.mark.parametrize("dtype", [d for d in dtypes.ALL if d.tensorrt and d is not dtypes.int4])
def test_every_dtype_as_weights(dtype):
    rtx = needs_rtx()
    array = np.zeros(4, dtype.numpy)
    weights = rtx.weights(array, dtype)
    assert weights.size == 4
    assert rtx.no_weights(dtype).size == 0
    assert rtx.no_weights(dtype).dtype == rtx.data_type(dtype)
    placeholder = rtx.placeholder(dtype, 7)
    assert (placeholder.size, placeholder.dtype) == (7, rtx.data_type(dtype))


def test_weights_are_not_copied():
    rtx = needs_rtx()
    array = np.zeros(4, np.float32)
    for given in (rtx.weights(array, dtypes.float32), rtx.weights(array, dtypes.float32, array.ctypes.data)):
        array[:] = 5
        assert (given if isinstance(given, np.ndarray) else given.numpy()).tolist() == [5, 5, 5, 5]
        array[:] = 0
    half = np.zeros(4, ml_dtypes.bfloat16)
    assert rtx.weights(half, dtypes.bfloat16).nbytes == 8


def test_types_without_tensorrt():
    rtx = needs_rtx()
    for dtype in (dtypes.float64, dtypes.int16):
        with pytest.raises(ProviderError, match=f"has no element type {dtype}"):
            rtx.data_type(dtype)


def test_targets():
    targets = needs_rtx().targets
    assert {"sm86", "sm89", "sm120"} <= set(targets)
    assert list(targets) == sorted(targets, key=lambda t: int(t[2:]))
    assert Provider("tensorrt", fake()).targets == ()


def test_the_provider_of_a_network():
    rtx = needs_rtx()
    builder = rtx.trt.Builder(rtx.logger)
    assert provider.of(rtx.create_network(builder)).trt is rtx.trt
    for wrong in (None, 3, builder.create_builder_config, types.SimpleNamespace()):
        with pytest.raises(ArgumentError, match="no INetworkDefinition"):
            provider.of(wrong)


@pytest.mark.parametrize("what", ["builder", "config", "class"])
def test_other_objects_of_tensorrt_are_no_network(what):
    from trtnet import Input, record
    from trtnet import functional as F

    rtx = needs_rtx()
    builder = rtx.trt.Builder(rtx.logger)
    given = {"builder": builder, "config": builder.create_builder_config(), "class": rtx.trt.INetworkDefinition}[what]
    with pytest.raises(ArgumentError, match="no INetworkDefinition") as caught:
        record(lambda x: F.relu(x), x=Input((2,))).lower(given)
    assert caught.value.remedy


def test_errors_are_recorded_without_the_noise_of_a_missing_gpu():
    rtx = needs_rtx()
    recorder = rtx.error_recorder()
    native = recorder.native
    native.report_error(rtx.trt.ErrorCodeTRT.INVALID_ARGUMENT, "first")
    native.report_error(rtx.trt.ErrorCodeTRT.INTERNAL_ERROR, "[checkMacros.cpp::catchCudaError::250] cudaError 35")
    native.report_error(rtx.trt.ErrorCodeTRT.INVALID_ARGUMENT, "second")
    native.report_error(rtx.trt.ErrorCodeTRT.INVALID_ARGUMENT, "first")
    assert recorder.errors == ["first", "second", "first"]
    assert recorder.text() == "first\nsecond"
    assert native.num_errors() == 3
    assert native.get_error_desc(1) == "second"
    native.clear()
    assert recorder.text() == ""


def test_tensorrts_log_goes_to_logging(caplog):
    rtx = needs_rtx()
    severity = rtx.trt.ILogger.Severity
    with caplog.at_level(logging.DEBUG, "trtnet.tensorrt"):
        rtx.logger.log(severity.WARNING, "careful, 100%")
        rtx.logger.log(severity.VERBOSE, "detail")
    assert [(r.name, r.levelno, r.getMessage()) for r in caplog.records] == [
        ("trtnet.tensorrt", logging.WARNING, "careful, 100%"),
        ("trtnet.tensorrt", logging.DEBUG, "detail"),
    ]


def test_the_progress_monitor_reports_and_cancels():
    rtx = needs_rtx()
    calls = []
    monitor = ProgressMonitor(lambda *call: calls.append(call))
    native = monitor.native(rtx.trt)
    native.phase_start("Building", None, 2)
    assert native.step_complete("Building", 0)
    monitor.cancelled = True
    assert not native.step_complete("Building", 1)
    native.phase_finish("Building")
    assert calls == [("Building", 0, 2), ("Building", 1, 2), ("Building", 2, 2), ("Building", 2, 2)]


def test_a_failing_report_cancels_and_is_kept():
    rtx = needs_rtx()

    def report(*call):
        raise ValueError("no")

    monitor = ProgressMonitor(report)
    native = monitor.native(rtx.trt)
    native.phase_start("Building", None, 2)
    assert monitor.cancelled
    assert isinstance(monitor.failure, ValueError)
    assert not native.step_complete("Building", 0)


def test_the_gpu_is_a_compute_capability_or_nothing():
    found = gpu.capability()
    assert found is None or (len(found) == 2 and found[0] >= 3)
    if found is None:
        assert ("no CUDA GPU" if rtx() else "tensorrt_rtx") in provider.can_execute()
        assert provider.executing() is None


DESTROYED_BY_A_HANDLER = """
import gc, logging, threading
from trtnet.tensorrt import provider

rtx = provider.load("tensorrt_rtx")
heard = []

class Handler(logging.Handler):
    def emit(self, record):
        heard.append(record.getMessage())
        gc.collect()
        if others:
            thread = threading.Thread(target=others.pop)
            thread.start()
            thread.join()

class Cycle:
    pass

log = logging.getLogger("trtnet.tensorrt")
log.setLevel(logging.DEBUG)
log.addHandler(Handler())
others = []
first = rtx.trt.Builder(rtx.trt.Logger())  # TensorRT warns of each logger from now on
for _ in range(3):
    one = Cycle()
    one.itself, one.builder = one, rtx.builder()
    del one
    others.append(rtx.builder())
    before = len(heard)
    rtx.with_builder(lambda builder: builder.create_network())
    assert len(heard) > before, "TensorRT said nothing"
assert not others
"""


def test_a_log_handler_that_destroys_builders():
    """TensorRT's lock is held while it logs: without care this waits for ever."""
    needs_rtx()
    done = subprocess.run([sys.executable, "-c", DESTROYED_BY_A_HANDLER], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def test_an_error_keeps_no_builder(monkeypatch):
    needs_rtx()
    made = []
    builder = Provider.builder

    def watched(self):
        one = builder(self)
        made.append(weakref.ref(one))
        return one

    monkeypatch.setattr(Provider, "builder", watched)

    def nothing(x):
        return trtnet.raw(lambda network, x: None, x, shapes=[(3,)], dtypes=["float32"], reference=lambda x: x)

    graph = trtnet.record(nothing, x=trtnet.Input((3,)))
    with pytest.raises(BuildError, match="did not return its outputs") as caught:
        trtnet.build_plan(graph, "sm86")
    assert len(made) == 1
    assert made[0]() is None, "the error keeps TensorRT's builder"
    assert caught.value.where is not None
