"""state_dict in: names, shapes, dtypes, ties, prefixes, and what is refused."""

from __future__ import annotations

import struct
import warnings

import ml_dtypes
import numpy as np
import pytest
from networks import Tied

import trtnet
from trtnet import nn
from trtnet.errors import ArgumentTypeError, DtypeError, WeightsError, WeightsNotFoundError
from trtnet.weights.matching import nonfinite


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 4, 3)
        self.fc = nn.Linear(4, 2)

    def forward(self, x):
        return self.fc(self.conv1(x).mean((2, 3)))


NAMES = ["conv1.weight", "conv1.bias", "fc.weight", "fc.bias"]


def values(seed=0, dtype=np.float32):
    rng = np.random.default_rng(seed)
    shapes = {name: value.shape for name, value in Net().state_dict().items()}
    return {name: rng.standard_normal(shape).astype(dtype) for name, shape in shapes.items()}


def assert_state(module, wanted):
    found = module.state_dict()
    assert list(found) == list(wanted)
    for name, value in wanted.items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)


# --- what fits --------------------------------------------------------------------------------------------------------


def test_state_dict_has_torchs_keys():
    assert list(Net().state_dict()) == NAMES
    assert list(Net().state_dict(prefix="net.")) == ["net." + name for name in NAMES]


def test_a_round_trip():
    net, given = Net(), values()
    report = net.load_state_dict(given)
    assert (report.missing_keys, report.unexpected_keys, report.converted) == ([], [], {})
    assert_state(net, given)
    other = Net()
    other.load_state_dict(net.state_dict())
    assert_state(other, given)


def test_values_of_every_kind():
    torch = pytest.importorskip("torch")
    given = values()
    mixed = {
        "conv1.weight": torch.from_numpy(given["conv1.weight"]),
        "conv1.bias": trtnet.tensor(given["conv1.bias"]),
        "fc.weight": torch.nn.Parameter(torch.from_numpy(given["fc.weight"])),
        "fc.bias": nn.Parameter(trtnet.tensor(given["fc.bias"])),
    }
    net = Net()
    net.load_state_dict(mixed)
    assert_state(net, given)


def test_torch_module_to_trtnet_and_back():
    torch = pytest.importorskip("torch")
    theirs = torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3), torch.nn.BatchNorm2d(4))
    mine = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4))
    mine.load_state_dict(theirs.state_dict())
    for name, value in mine.state_dict().items():
        np.testing.assert_array_equal(value, theirs.state_dict()[name].numpy())
    theirs.load_state_dict(
        {name: torch.from_numpy(value.copy()) for name, value in mine.state_dict().items()}, strict=False
    )


def test_num_batches_tracked_may_be_there_or_not():
    bn = nn.BatchNorm2d(2)
    state = {name: np.ones(2, np.float32) for name in ("weight", "bias", "running_mean", "running_var")}
    bn.load_state_dict(state)
    bn.load_state_dict(state | {"num_batches_tracked": np.array(5)})
    nn.Sequential(nn.Linear(1, 1)).load_state_dict(
        {
            "0.weight": np.ones((1, 1), np.float32),
            "0.bias": np.ones(1, np.float32),
            "bn.num_batches_tracked": np.array(5),
        }
    )


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
def test_half_types_convert_both_ways_and_the_report_says_so(dtype):
    given = values(dtype=dtype)
    net = Net()
    report = net.load_state_dict(given)
    assert report.converted == {name: np.dtype(dtype).name for name in NAMES}
    assert_state(net, {name: value.astype(np.float32) for name, value in given.items()})
    half = Net().to(np.dtype(dtype).name)
    report = half.load_state_dict(values())
    assert report.converted == dict.fromkeys(NAMES, "float32")
    assert {value.dtype for value in half.state_dict().values()} == {np.dtype(dtype)}
    assert half.load_state_dict(given).converted == {}


def test_torchs_bfloat16():
    torch = pytest.importorskip("torch")
    net = Net().bfloat16()
    given = {name: torch.from_numpy(value).bfloat16() for name, value in values().items()}
    assert net.load_state_dict(given).converted == {}
    for name, value in net.state_dict().items():
        assert value.dtype == ml_dtypes.bfloat16
        np.testing.assert_array_equal(value.astype(np.float32), given[name].float().numpy())


@pytest.mark.parametrize("prefix", ["learner.", "policy.net."])
def test_prefixes_are_stripped(prefix):
    net, given = Net(), values()
    net.load_state_dict({prefix + name: value for name, value in given.items()}, prefix=prefix)
    assert_state(net, given)
    with pytest.raises(WeightsError) as caught:
        net.load_state_dict({prefix + name: value for name, value in given.items()})
    assert f"prefix={prefix!r}" in caught.value.remedy


@pytest.mark.parametrize(
    "wrapped",
    [
        "module.{}", "_orig_mod.{}", "module._orig_mod.{}", "_orig_mod.module.{}", "module.module.{}",
        "module._orig_mod.module.{}",
    ],
)  # fmt: skip
def test_what_wrappers_put_into_keys_is_seen_through(wrapped):
    net, given = Net(), values()
    named = {wrapped.format(name): value for name, value in given.items()}
    assert net.load_state_dict(named) == ([], [], {})
    assert_state(net, given)
    graph = trtnet.record(Net(), x=trtnet.Input((1, 1, 8, 8)))
    graph.load_state_dict(named)
    engine = trtnet.build(graph, provider="reference", refit=True)
    inside = {name.replace("fc.", "fc._orig_mod."): value for name, value in given.items()}
    for keys in (named, inside):
        assert sorted(engine.refit(keys).given) == sorted(given)
    for keys in (
        {f"net.{name}": value for name, value in named.items()},
        {f"module.net.{name}": value for name, value in inside.items()},
        {f"_orig_mod.net.module.{name}": value for name, value in given.items()},
    ):
        report = engine.refit(keys | {"critic.bias": np.ones(3)}, prefix="net.")
        assert sorted(report.given) == sorted(given)
    for name, value in engine.parameters().items():
        np.testing.assert_array_equal(value, given[name])
    live = trtnet.build(graph, provider="reference", live=True)
    torch = pytest.importorskip("torch")
    live.bind_weights({name: torch.from_numpy(value) for name, value in named.items()})


def test_torchs_own_wrappers():
    torch = pytest.importorskip("torch")
    inner = torch.nn.Sequential(
        torch.nn.Linear(3, 4), torch.nn.utils.parametrizations.weight_norm(torch.nn.Linear(4, 2))
    )
    inner[0] = torch.compile(inner[0])
    net = trtnet.nn.Sequential(trtnet.nn.Linear(3, 4), trtnet.nn.Linear(4, 2))
    for wrapped in (
        inner,
        torch.compile(inner),
        torch.nn.DataParallel(inner),
        torch.compile(torch.nn.DataParallel(inner)),
    ):
        for one in net.parameters():
            one.fill_(0)
        net.load_state_dict(wrapped.state_dict())
        x = torch.randn(5, 3)
        wanted = inner[1](inner[0]._orig_mod(x)).detach()
        graph = trtnet.record(net, input=trtnet.Input((5, 3)))
        np.testing.assert_allclose(trtnet.reference(graph)(x.numpy()), wanted.numpy(), rtol=1e-5, atol=1e-6)


def test_modules_that_are_called_like_wrappers():
    class Called(trtnet.nn.Module):
        def __init__(self):
            super().__init__()
            self.module = trtnet.nn.Linear(2, 2)
            self.bias = trtnet.nn.Parameter(np.zeros(2, np.float32))

        def forward(self, x):
            return self.module(x) + self.bias

    def state(prefix):
        return {prefix + name: np.full(np.shape(value), at, np.float32) for at, (name, value) in enumerate(named)}

    net = Called()
    named = list(net.state_dict().items())
    for prefix in ("", "module.", "_orig_mod.", "_orig_mod.module."):
        if prefix.endswith("module."):  # "module.bias" is the inner one's: nothing says which is meant
            with pytest.raises(WeightsError, match=r"given twice|missing"):
                net.load_state_dict(state(prefix))
            net.load_state_dict(state(prefix), prefix=prefix)
        else:
            net.load_state_dict(state(prefix))
        for at, (name, _) in enumerate(named):
            assert (net.state_dict()[name] == at).all()


def test_a_wrapped_name_that_is_unknown_is_said_without_the_wrapper():
    given = {f"module.{name}": value for name, value in values().items()}
    given["module.fc.wieght"] = given.pop("module.fc.weight")
    with pytest.raises(WeightsError, match=r"fc.wieght +\(nearest: fc.weight\)"):
        Net().load_state_dict(given)


def test_a_name_given_with_and_without_the_prefix():
    given = values()
    net = Net()
    net.load_state_dict(given | {"net.fc.bias": given["fc.bias"] + 1}, prefix="net.", strict=False)
    np.testing.assert_array_equal(net.state_dict()["fc.bias"], given["fc.bias"] + 1)
    assert not np.array_equal(net.state_dict()["fc.weight"], given["fc.weight"]), "other keys are somebody else's"
    with pytest.raises(WeightsError, match=r"fc.bias: given twice, as 'module.fc.bias' too"):
        Net().load_state_dict(given | {"module.fc.bias": given["fc.bias"]})


def test_strict_false_takes_what_fits():
    net = Net()
    before = net.state_dict()["fc.weight"].copy()
    given = values()
    report = net.load_state_dict({"conv1.weight": given["conv1.weight"], "other": np.ones(3, np.float32)}, strict=False)
    assert report.missing_keys == ["conv1.bias", "fc.weight", "fc.bias"]
    assert report.unexpected_keys == ["other"]
    np.testing.assert_array_equal(net.state_dict()["conv1.weight"], given["conv1.weight"])
    np.testing.assert_array_equal(net.state_dict()["fc.weight"], before)


# --- copies -----------------------------------------------------------------------------------------------------------


def test_loading_copies_as_torch_does():
    given = values()
    net = Net()
    net.load_state_dict(given)
    wanted = {name: value.copy() for name, value in given.items()}
    for value in given.values():
        value[:] = 0
    assert_state(net, wanted)


def test_a_torch_module_that_trains_on_does_not_reach_the_network():
    torch = pytest.importorskip("torch")
    theirs = torch.nn.Linear(3, 2)
    mine = nn.Linear(3, 2)
    mine.load_state_dict(theirs.state_dict())
    before = theirs.weight.detach().clone()
    with torch.no_grad():
        theirs.weight.zero_()
    np.testing.assert_array_equal(mine.state_dict()["weight"], before.numpy())


def test_assign_takes_arrays_as_they_are():
    given = values()
    net = Net()
    net.load_state_dict(given, assign=True)
    for name in NAMES:
        assert net.state_dict()[name] is given[name]


def test_read_only_arrays_are_never_copied():
    given = values()
    for value in given.values():
        value.flags.writeable = False
    net = Net()
    net.load_state_dict(given)
    for name in NAMES:
        assert net.state_dict()[name] is given[name]


def test_a_file_is_mapped_not_copied(tmp_path):
    source = Net()
    source.save_weights(tmp_path / "w.safetensors")
    net = Net().load_weights(tmp_path / "w.safetensors")
    assert_state(net, source.state_dict())
    assert not any(value.flags.writeable for value in net.state_dict().values())
    copied = Net().load_weights(tmp_path / "w.safetensors", mmap=False)
    assert_state(copied, source.state_dict())


@pytest.mark.parametrize("suffix", [".safetensors", ".npz", ".pt", ".wts"])
def test_save_and_load(tmp_path, suffix):
    if suffix == ".pt":
        pytest.importorskip("torch")
    source = Net()
    source.save_weights(tmp_path / f"w{suffix}")
    net = Net()
    assert net.load_weights(tmp_path / f"w{suffix}") is net
    assert_state(net, source.state_dict())


def test_changing_a_mapped_parameter_changes_no_file(tmp_path):
    path = tmp_path / "w.safetensors"
    Net().save_weights(path)
    data = path.read_bytes()
    net = Net().load_weights(path)
    net.fc.bias[0] = 7.0
    assert net.state_dict()["fc.bias"][0] == 7
    assert path.read_bytes() == data


# --- ties -------------------------------------------------------------------------------------------------------------


def tied():
    return Tied(lambda: nn.Linear(3, 3, bias=False))


@pytest.mark.parametrize("keys", [("a.weight",), ("b.weight",), ("a.weight", "b.weight")])
def test_tied_parameters_take_either_key_and_stay_tied(keys):
    net = tied()
    value = np.arange(9, dtype=np.float32).reshape(3, 3)
    report = net.load_state_dict(dict.fromkeys(keys, value))
    assert report.missing_keys == []
    assert net.a.weight is net.b.weight
    for key in ("a.weight", "b.weight"):
        np.testing.assert_array_equal(net.state_dict()[key], value)


def test_tied_parameters_with_two_values_are_refused():
    one, two = np.ones((3, 3), np.float32), np.zeros((3, 3), np.float32)
    with pytest.raises(WeightsError, match="misshapen") as caught:
        tied().load_state_dict({"a.weight": one, "b.weight": two})
    assert "tied to a.weight, but their values differ" in caught.value.details


def test_tied_values_with_nan_are_the_same():
    value = np.full((3, 3), np.nan, np.float32)
    with pytest.warns(UserWarning, match="NaN"):
        tied().load_state_dict({"a.weight": value, "b.weight": value.copy()})


# --- what is refused --------------------------------------------------------------------------------------------------


def test_a_mismatch_lists_extra_missing_misshapen_with_the_nearest_name():
    given = values()
    given["conv1.wieght"] = given.pop("conv1.weight")
    given["fc.bias"] = np.ones(3, np.float32)
    net = Net()
    before = {name: value.copy() for name, value in net.state_dict().items()}
    with pytest.raises(WeightsError, match="1 extra, 1 missing, 1 misshapen") as caught:
        net.load_state_dict(given)
    details = caught.value.details
    assert details.index("extra") < details.index("missing") < details.index("misshapen")
    assert "conv1.wieght  (nearest: conv1.weight)" in details
    assert "conv1.weight  (nearest: conv1.wieght)" in details
    assert "fc.bias: expected (2,), found (3,)" in details
    assert caught.value.where.file == __file__
    assert_state(net, before)


def test_a_missing_name_is_called_near_to_no_extra_one_that_is_nearer_to_another():
    given = values()
    given["fc.wieght"], given["conv1.wieght"] = given.pop("fc.weight"), given.pop("conv1.weight")
    del given["fc.bias"]
    with pytest.raises(WeightsError, match="2 extra, 3 missing, 0 misshapen") as caught:
        Net().load_state_dict(given)
    missing = caught.value.details.partition("missing:")[2]
    assert "fc.weight  (nearest: fc.wieght)" in missing
    assert "conv1.weight  (nearest: conv1.wieght)" in missing
    assert missing.rstrip().endswith("fc.bias")
    assert caught.value.remedy.startswith("what only has another name here: rename=")


def test_a_matrix_the_other_way_round_is_called_so():
    given = values()
    given["fc.weight"] = np.ascontiguousarray(given["fc.weight"].T)
    with pytest.raises(WeightsError, match="1 misshapen") as caught:
        Net().load_state_dict(given)
    assert "fc.weight: expected (2, 4), found (4, 2), the other way round" in caught.value.details
    assert "ascontiguousarray(matrix.T)" in caught.value.remedy
    given["fc.bias"] = np.ones(3, np.float32)
    with pytest.raises(WeightsError, match="2 misshapen") as caught:
        Net().load_state_dict(given)
    assert "sizes that were found" in caught.value.remedy


def test_misshapen_raises_without_strict_too():
    with pytest.raises(WeightsError, match="1 misshapen"):
        Net().load_state_dict({"fc.bias": np.ones(3, np.float32)}, strict=False)


def test_long_lists_are_cut():
    extra = {f"extra{i}": np.ones(1, np.float32) for i in range(50)}
    with pytest.raises(WeightsError, match="50 extra") as caught:
        Net().load_state_dict(values() | extra)
    assert "and 30 more" in caught.value.details


@pytest.mark.parametrize(
    ("value", "kind", "remedy"),
    [
        (np.ones(2, np.int32), DtypeError, "astype"),
        (np.ones(2, np.complex64), DtypeError, None),
        (np.ones(2, ">f4"), DtypeError, None),
        (np.array([None, None]), DtypeError, None),
        (np.ones(4, np.float32)[::2], WeightsError, "ascontiguousarray"),
        ([1.0, 2.0], WeightsError, None),
        ("abc", WeightsError, None),
        (None, WeightsError, None),
    ],
)
def test_values_that_are_refused(value, kind, remedy):
    net = Net()
    before = {name: v.copy() for name, v in net.state_dict().items()}
    with pytest.raises(kind) as caught:
        net.load_state_dict(values(1) | {"fc.bias": value})
    assert caught.value.found is not None
    assert caught.value.expected
    if remedy:
        assert remedy in caught.value.remedy
    if kind is DtypeError and remedy:
        assert "'fc.bias'" in str(caught.value)
    assert_state(net, before)


def test_integers_of_torch_are_refused_with_the_remedy():
    torch = pytest.importorskip("torch")
    with pytest.raises(DtypeError, match=r"'fc\.bias' have the wrong dtype") as caught:
        Net().load_state_dict(values() | {"fc.bias": torch.ones(2, dtype=torch.int64)})
    assert (caught.value.expected, caught.value.found) == ("float32", "int64")
    assert "torch.float32" in caught.value.remedy


@pytest.mark.parametrize("given", [None, [1, 2], b"weights", 3, np.ones(3), {1: np.ones(2)}, {"a": {1: np.ones(2)}}])
def test_what_is_no_state_dict(given):
    with pytest.raises(ArgumentTypeError, match="weights are given by name") as caught:
        Net().load_state_dict(given)
    assert caught.value.expected


def test_a_wts_file_has_no_shapes_and_counts_must_fit(tmp_path):
    path = tmp_path / "w.wts"
    Net().save_weights(path)
    text = path.read_text().splitlines()
    (tmp_path / "short.wts").write_text("\n".join(["4", *text[1:3], "fc.bias 1 3f800000", text[3]]) + "\n")
    with pytest.raises(WeightsError):
        Net().load_weights(tmp_path / "short.wts")


@pytest.mark.parametrize("suffix", [".wts", ".WTS"])
def test_a_wts_file_of_a_batch_norm_as_tensorrtx_writes_it(tmp_path, suffix):
    torch = pytest.importorskip("torch")
    theirs = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.BatchNorm2d(2))
    with torch.no_grad():
        for _ in range(3):
            theirs(torch.randn(2, 1, 5, 5))
    path = tmp_path / f"theirs{suffix}"
    with path.open("w") as file:  # tensorrtx's gen_wts.py
        file.write(f"{len(theirs.state_dict())}\n")
        for key, value in theirs.state_dict().items():
            flat = value.reshape(-1).numpy()
            file.write(f"{key} {len(flat)}" + "".join(" " + struct.pack(">f", float(v)).hex() for v in flat) + "\n")
    mine = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
    mine.load_weights(path)
    wanted = {key: value.numpy() for key, value in theirs.state_dict().items()}
    assert_state(mine, wanted)
    assert mine.state_dict()["1.num_batches_tracked"] == 3
    assert mine.state_dict()["1.num_batches_tracked"].dtype == np.int64
    ours = tmp_path / f"ours{suffix}"
    mine.save_weights(ours)
    assert ours.read_bytes() == path.read_bytes()
    path.write_text(path.read_text().replace("num_batches_tracked 1 40400000", "num_batches_tracked 1 40490fdb"))
    with pytest.raises(DtypeError, match="no int64") as caught:
        mine.load_weights(path)
    assert "3.14" in caught.value.found
    mine[1].num_batches_tracked.fill_(2**24 + 1)
    with pytest.raises(WeightsError, match="cannot hold '1") as caught:
        mine.save_weights(ours)
    assert ".safetensors" in caught.value.remedy


def test_missing_and_broken_files(tmp_path):
    with pytest.raises(WeightsNotFoundError) as caught:
        Net().load_weights(tmp_path / "no.safetensors")
    assert isinstance(caught.value, FileNotFoundError)
    path = tmp_path / "w.safetensors"
    net = Net()
    net.save_weights(path)
    before = {name: v.copy() for name, v in net.state_dict().items()}
    data = path.read_bytes()
    for cut in (0, 7, 20, len(data) - 1):
        (tmp_path / "cut.safetensors").write_bytes(data[:cut])
        with pytest.raises(WeightsError, match="damaged"):
            net.load_weights(tmp_path / "cut.safetensors")
    assert_state(net, before)


# --- what is not finite -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", [np.float32, np.float16, ml_dtypes.bfloat16])
def test_nonfinite_values_are_warned_of_by_name(bad, dtype):
    given = values()
    given["fc.weight"] = given["fc.weight"].astype(dtype)
    given["fc.weight"][1, 2] = bad
    with pytest.warns(UserWarning, match="NaN") as caught:
        Net().load_state_dict(given)
    assert [str(w.message) for w in caught] == ["weights hold NaN or infinity: fc.weight"]
    assert caught[0].filename == __file__


def test_finite_values_are_not_warned_of():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Net().load_state_dict(values())


def test_nonfinite_finds_the_last_element_of_a_large_array():
    array = np.zeros(5 * (1 << 20) + 3, np.float32)
    assert not nonfinite(array)
    array[-1] = np.nan
    assert nonfinite(array)
    assert not nonfinite(np.ones(3, np.int32))
    assert not nonfinite(np.zeros(0, np.float32))
    assert nonfinite(np.array(np.nan, np.float32))
    assert not nonfinite(np.array([65504], np.float16))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_nonfinite_looks_twice_where_squares_are_too_large(bad):
    array = np.full(5000, 3e38, np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not nonfinite(array)
        array[17] = bad
        assert nonfinite(array)
        array[:] = 1
        array[17] = bad
        assert nonfinite(array)
        assert not nonfinite(np.delete(array, 17)[::2])
