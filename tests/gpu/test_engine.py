"""The TensorRT engine against the reference in float64: every layer kind, refit, half precision, dynamic sizes."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from cases import CASES, image, randomize
from cases import recorded as case
from networks import Convolutions, convolutions, flat

import trtnet
from trtnet import Dim, Input
from trtnet import functional as F


def build(graph, **options):
    options.setdefault("optimization_level", 0)
    engine = trtnet.build(graph, provider="tensorrt", **options)
    assert type(engine).__name__ == "TensorRTEngine"
    return engine


def compare(found, wanted, tolerance):
    for index, (mine, reference) in enumerate(zip(flat(found), flat(wanted), strict=True)):
        assert mine.dtype == reference.dtype
        assert mine.shape == reference.shape
        if mine.dtype.kind in "iub":
            np.testing.assert_array_equal(mine, reference, err_msg=f"output {index}")
        else:
            scale = max(1.0, float(np.abs(reference).max(initial=0)))
            np.testing.assert_allclose(
                mine, reference, rtol=tolerance, atol=tolerance * scale, err_msg=f"output {index}"
            )


@pytest.mark.parametrize("name", CASES)
def test_layers_agree_with_the_reference(name):
    graph, inputs = case(name)
    wanted = trtnet.reference(graph, dtype="float64")(**inputs)
    compare(build(graph)(**inputs), wanted, 1e-4)


def test_dynamic_batch_and_size():
    batch, height = Dim("batch", 1, 4, 8), Dim("height", 8, 16, 32, multiple_of=8)

    def network(x):
        y = F.max_pool2d(x, 2)
        up = F.interpolate(y, scale_factor=2.0)
        z = trtnet.cat([x, up], 1)
        return z.reshape(z.size(0), -1, 16), z[:, :, 1:-1], z.flatten(1).sum(1), z.permute(0, 2, 3, 1).reshape(-1, 6)

    graph = trtnet.record(network, x=Input((batch, 3, height, 16)))
    engine, reference = build(graph), trtnet.reference(graph, dtype="float64")
    for b, h in ((1, 8), (3, 24), (8, 32)):
        x = image(b, 3, h, 16)
        compare(engine(x), reference(x), 1e-4)
    with pytest.raises(trtnet.errors.ShapeError, match="outside its range"):
        engine(image(9, 3, 8, 16))


def test_half_precision_holds():
    graph = convolutions(dtype="float16")
    x = image(2, 3, 8, 8).astype(np.float16)
    found = build(graph)(x)
    assert found.dtype == np.float16
    compare(found, trtnet.reference(graph, dtype="float64")(x), 2e-2)


def test_refit_subset_and_back():
    graph = convolutions()
    engine, x = build(graph, refit=True), image(2, 3, 8, 8)
    first, snapshot = engine(x), engine.snapshot()
    other = randomize(Convolutions(), seed=5).state_dict()
    reference = trtnet.reference(graph, dtype="float64")
    for given in (
        {"bn.weight": other["bn.weight"]},
        {"conv.bias": other["conv.bias"]},
        {"fc.weight": other["fc.weight"]},
        other,
    ):
        report = engine.refit(given)
        reference.refit(given)
        assert set(report.given) == {n for n in given if n in graph.parameters}
        compare(engine(x), reference(x), 1e-4)
    assert not np.array_equal(engine(x), first)
    engine.restore(snapshot)
    assert np.array_equal(engine(x), first)
    assert engine.generation == 5


def test_bad_refit_changes_nothing():
    engine, x = build(convolutions(), refit=True), image(2, 3, 8, 8)
    before = engine(x)
    good = np.zeros(5, np.float32)
    for bad in ({"fc.weight": np.zeros((5, 9), np.float32)}, {"nothing": good}, {"fc.bias": good.astype(np.int32)}):
        with pytest.raises(trtnet.TrtnetError):
            engine.refit({"fc.bias": good} | bad)
        assert np.array_equal(engine(x), before)
    with pytest.raises(trtnet.TrtnetError, match="NaN"):
        engine.refit({"fc.bias": good * np.nan}, finite="raise")
    assert np.array_equal(engine(x), before)


def test_torch_tensors_stay_on_the_gpu():
    import torch

    graph = convolutions()
    engine = build(graph)
    x = torch.from_numpy(image(2, 3, 8, 8)).cuda()
    with torch.cuda.stream(torch.cuda.Stream()):
        found = engine(x)
    assert found.is_cuda
    torch.cuda.synchronize()
    compare(found.cpu().numpy(), trtnet.reference(graph, dtype="float64")(x.cpu().numpy()), 1e-4)
    on_gpu = trtnet.reference(graph, device="cuda")(x)
    assert on_gpu.is_cuda
    compare(on_gpu.cpu().numpy(), trtnet.reference(graph, dtype="float64")(x.cpu().numpy()), 2e-3)


def test_threads_take_turns():
    engine, x = build(convolutions()), image(2, 3, 8, 8)
    wanted, wrong = engine(x), []

    def work(scale):
        mine = engine(x * scale)
        for _ in range(50):
            if not np.array_equal(engine(x * scale), mine):
                wrong.append(scale)

    threads = [threading.Thread(target=work, args=(s,)) for s in range(1, 9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert np.array_equal(engine(x), wanted)


def test_not_refittable_says_so():
    engine = build(convolutions())
    with pytest.raises(trtnet.errors.WeightsError, match="fixed when the engine was built"):
        engine.refit({"fc.bias": np.zeros(5, np.float32)})


def test_weak_typing_is_told_the_recorded_types():
    # a float32 island in a float16 network: its values do not survive float16
    graph = trtnet.record(lambda x: (x.float() * 1000.0 * 1000.0 / 1000.0).to("float16"), x=Input((4,), "float16"))
    x = np.array([1, 2, 3, 4], np.float16)
    assert np.array_equal(build(graph)(x), (x.astype(np.float32) * 1000).astype(np.float16))


def test_nothing_is_named_that_falls_back():
    with pytest.raises(trtnet.errors.ProviderError, match="tensorrt_rtx"):
        trtnet.build(convolutions(), provider="tensorrt_rtx")


def test_tensorrt_reasons_come_back_with_module_and_line():
    graph = convolutions()
    convolution = graph.layers[0]
    convolution.num_groups = 2  # three channels cannot be in two groups
    with pytest.raises(trtnet.errors.BuildError) as error:
        build(graph)
    assert error.value.module == "conv"
    assert "conv/convolution" in str(error.value)
    assert "self.conv(x)" in str(error.value)
    assert "gave no reason" not in str(error.value)


def test_dynamic_refit_frees_the_old_context():
    batch = Dim("batch", 1, 4, 8)
    graph = convolutions(batch)
    engine, reference = build(graph, refit=True), trtnet.reference(graph, dtype="float64")
    for seed in range(3):
        state = randomize(Convolutions(), seed).state_dict()
        engine.refit(state)
        reference.refit(state)
        for size in (1, 5):
            x = image(size, 3, 8, 8)
            compare(engine(x), reference(x), 1e-4)


def test_how_long_each_layer_took():
    graph = convolutions()
    engine = build(graph)
    x = image(2, 3, 8, 8)
    before = engine(x)
    times = engine.profile(x)
    assert times.milliseconds > 0
    assert all(layer.milliseconds >= 0 for layer in times.layers)
    recorded = {layer.path for layer in graph.layers}
    named = [layer for layer in times.layers if layer.where]
    assert named, times
    assert any(layer.module == "conv" or "conv/" in layer.name for layer in named), times
    assert {layer.module for layer in named} <= recorded | {""}
    np.testing.assert_array_equal(engine(x), before)
    with engine.context() as context:
        assert [layer.name for layer in context.profile(x).layers] == [layer.name for layer in times.layers]
