"""Options of engines and contexts: as the reference engine takes and refuses them, and as TensorRT is told."""

from __future__ import annotations

import numpy as np
import pytest
from judged_engines import X, standing_in

import trtnet
from trtnet import Input, RunOptions, nn
from trtnet.engine import options
from trtnet.errors import ArgumentError, ArgumentTypeError, ProviderError
from trtnet.tensorrt.build.options import BuildOptions
from trtnet.tensorrt.run import loaded


def graph():
    return trtnet.record(nn.Linear(3, 2), input=Input((2, 3)))


@pytest.mark.parametrize("name", options.NAMES)
def test_what_is_no_value_is_refused(name):
    text = "" if name == "runtime_cache" else "fast"
    for wrong in (-1, 1.5, text, True, None if name in options.CHOICES else b""):
        with pytest.raises(ArgumentError, match=f"there is no such {name}") as caught:
            RunOptions(**{name: wrong})
        assert repr(wrong) in str(caught.value)


@pytest.mark.parametrize(("name", "choice"), [(name, one) for name, all_ in options.CHOICES.items() for one in all_])
def test_every_choice_is_a_member_of_a_version(name, choice):
    kinds = {"execution_context_allocation_strategy": "ExecutionContextAllocationStrategy"} | loaded.JIT_STRATEGIES
    kind = kinds.get(name, "DLAWorkspaceAllocationStrategy")
    with standing_in("rtx1.7.1") as here:
        assert here.provider.has(kind, choice.upper())
        assert here.provider.has(*loaded.WHERE[name])


def test_every_option_is_somewhere():
    assert set(loaded.WHERE) == set(options.SINCE) == set(options.NAMES) - {"persistent_cache_limit"}
    assert set(options.OF_CONTEXTS) < set(options.NAMES)
    assert not set(options.NAMES) & set(BuildOptions.__dataclass_fields__), "build takes both"


def test_build_takes_both_kinds_of_options_and_a_typing_error_is_found():
    engine = trtnet.build(graph(), provider="reference", workspace=1 << 20, persistent_cache_limit=1 << 20)
    assert engine(np.ones((2, 3), np.float32)).shape == (2, 2)
    with pytest.raises(ArgumentTypeError, match="there is no build option 'persistent_cache_limits'"):
        trtnet.build(graph(), provider="reference", persistent_cache_limits=3)
    with pytest.raises(ArgumentTypeError, match=r"it is an option of trtnet\.load and trtnet\.build"):
        trtnet.build_plan(graph(), persistent_cache_limit=3)


def test_contexts_of_the_reference_and_of_two_engines_take_them():
    with trtnet.HotSwap(trtnet.build(graph(), provider="reference", refit=True)) as engine:
        context = engine.context(persistent_cache_limit=3).context(execution_context_allocation_strategy="static")
        assert context(np.ones((2, 3), np.float32)).shape == (2, 2)
        with pytest.raises(ArgumentTypeError, match=r"no option 'cache_limit'.*\n.*expected: persistent_cache_limit"):
            engine.context(cache_limit=3)
        with pytest.raises(ArgumentError, match="there is no such persistent_cache_limit"):
            engine.context(persistent_cache_limit=-3)


def test_options_of_a_context_that_is_lacking_are_refused_when_it_is_made():
    with standing_in("11.2") as here, here.build() as engine:
        with pytest.raises(ProviderError, match=r"has no cuda_graph_strategy\n  expected: TensorRT-RTX"):
            engine.context(cuda_graph_strategy="whole_graph_capture")
        with pytest.raises(ProviderError, match=r"has no dla_work\w+\n  expected: TensorRT 11.3 or newer"):
            here.build(dla_workspace_allocation_strategy="shared_static")


def test_a_limit_that_is_not_kept_is_refused(monkeypatch):
    with standing_in("8.6.1") as here:
        monkeypatch.setattr(
            here.provider.trt.IExecutionContext, "persistent_cache_limit", property(lambda c: 7, lambda c, v: None)
        )
        with (
            here.build(persistent_cache_limit=8) as engine,
            pytest.raises(ProviderError, match="found:    7 bytes kept"),
        ):
            engine(X)


def test_budgets():
    """As documented: v2 counts from 0, and no more than can be streamed; before, there is a least one."""
    with standing_in("10.0.1") as here:
        for budget, kept in ((0, 64), (100, 100), ("automatic", 0), (4096, -1), (1 << 40, -1)):
            with here.build(weight_streaming=True, weight_streaming_budget=budget) as engine:
                assert engine._engine.weight_streaming_budget == kept
    with standing_in("11.4") as here:
        for budget, kept in ((0, 0), (100, 100), ("automatic", 2048), (4096, 4096), (1 << 40, 4096)):
            with here.build(weight_streaming=True, weight_streaming_budget=budget) as engine, engine.clone() as other:
                assert engine._engine.weight_streaming_budget_v2 == other._engine.weight_streaming_budget_v2 == kept
                assert engine.streams_weights is (kept < 4096)


def cached(here, path, **given):
    with here.build(runtime_cache=str(path), **given) as engine:
        engine(X)


def test_a_runtime_cache_of_another_gpu_is_written_anew(tmp_path, caplog):
    path = tmp_path / "kernels.cache"
    path.write_bytes(b"of another GPU")
    with standing_in("rtx1.7.1") as here, caplog.at_level("INFO", logger="trtnet.tensorrt"):
        cached(here, path, cuda_graph_strategy="whole_graph_capture")
    assert path.read_bytes() == b"kernels+"
    assert "of another GPU, driver or TensorRT-RTX" in caplog.text


def test_a_runtime_cache_that_cannot_be(tmp_path):
    shared = tmp_path / "shared.cache"
    shared.write_bytes(b"kernels")
    shared.chmod(0o666)
    with standing_in("rtx1.7.1") as here:
        for path, problem in ((tmp_path, "cannot be read"), (shared, r"cannot be read\n(.|\n)*writable by")):
            with pytest.raises(ProviderError, match=problem) as caught:
                cached(here, path)
            assert "name another file" in caught.value.remedy
        with pytest.raises(trtnet.errors.WeightsNotFoundError, match="does not exist"):
            cached(here, tmp_path / "none" / "kernels.cache")
    with standing_in("11.4") as here, pytest.raises(ProviderError, match=r"has no runtime_cache\n.*TensorRT-RTX"):
        cached(here, tmp_path / "kernels.cache")


def test_a_runtime_cache_that_cannot_be_written_does_not_keep_an_engine_from_closing(tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    with standing_in("rtx1.7.1") as here:
        engine = here.build(runtime_cache=str(folder / "kernels.cache"))
        engine(X)
        folder.rmdir()
        with pytest.warns(UserWarning, match=r"kernels.cache could not be written"):
            engine.close()
    assert engine.closed


def test_a_cache_that_tensorrt_does_not_take(tmp_path, monkeypatch):
    with standing_in("rtx1.7.1") as here:
        monkeypatch.setattr(here.provider.trt.IRuntimeConfig, "set_runtime_cache", lambda config, cache: False)
        with pytest.raises(ProviderError, match="did not take the runtime cache") as caught:
            cached(here, tmp_path / "kernels.cache")
        assert "remove the file" in caught.value.remedy
