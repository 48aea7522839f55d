"""Weight files: round trips, foreign readers and writers, no copies, broken files, atomic writing."""

from __future__ import annotations

import gc
import io
import json
import mmap
import os
import random
import struct
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import trtnet.weights.files as files
from trtnet.errors import (
    ArgumentError,
    ArgumentTypeError,
    ProviderError,
    TrtnetError,
    WeightsError,
    WeightsNotFoundError,
)

COMMON = ["float32", "float16", "bfloat16", "float8_e4m3fn", "float8_e5m2", "float64"]
COMMON += ["bool", "int8", "uint8", "int16", "int32", "int64", "uint16", "uint32", "uint64"]
DTYPES = {
    ".safetensors": COMMON,
    ".npz": [*COMMON, "complex64", "complex128", "int4"],
    ".pt": [*COMMON, "complex64", "complex128"],
    ".wts": ["float32"],
}
SUFFIXES = list(DTYPES)
WITH_METADATA = [".safetensors", ".npz"]
QUICK = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def dtype_of(name: str) -> np.dtype:
    return np.dtype(getattr(ml_dtypes, name, name))


def same(left: np.ndarray, right: np.ndarray) -> bool:
    """Equal in type, shape and bits, NaN payloads included."""
    right = np.asarray(right, order="C").astype(right.dtype.newbyteorder("="), copy=False)
    return left.dtype == right.dtype and left.shape == right.shape and left.tobytes() == right.tobytes()


def values(dtype: str, shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    """Random bits (0 and 1 for bool)."""
    kind = dtype_of(dtype)
    generator = np.random.default_rng(seed)
    if dtype in ("bool", "int4"):
        return generator.integers(0, 2, shape).astype(kind)
    count = int(np.prod(shape)) * kind.itemsize
    return generator.integers(0, 256, count, dtype=np.uint8).view(kind).reshape(shape)


def sample(suffix: str) -> dict[str, np.ndarray]:
    return {f"layer.{name}": values(name, (2, 3), index) for index, name in enumerate(DTYPES[suffix])}


def layouts(array: np.ndarray, layout: str) -> np.ndarray:
    """The same values behind other strides or another byte order."""
    if layout == "fortran":
        return np.asfortranarray(array)
    if layout == "reversed" and array.ndim:
        return array[::-1][::-1].T.copy().T
    if layout == "strided" and array.ndim:
        return np.repeat(array, 2, axis=-1)[..., ::2]
    if layout == "swapped" and array.dtype.isbuiltin == 1:
        return array.astype(array.dtype.newbyteorder())
    if layout == "read-only":
        array = array.copy()
        array.flags.writeable = False
    return array


def names(suffix: str) -> st.SearchStrategy[str]:
    if suffix == ".wts":
        return st.text(st.characters(categories=["L", "N", "P", "S"]), min_size=1, max_size=12)
    text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
    return text.filter(lambda name: not name.startswith("__"))


@st.composite
def contents(draw: st.DrawFn, suffix: str) -> dict[str, np.ndarray]:
    result = {}
    for name in draw(st.lists(names(suffix), unique=True, max_size=5)):
        dtype = draw(st.sampled_from(DTYPES[suffix]))
        shape = draw(st.lists(st.integers(0, 4), max_size=4))
        layout = draw(st.sampled_from(["plain", "fortran", "reversed", "strided", "swapped", "read-only"]))
        result[name] = layouts(values(dtype, tuple(shape), draw(st.integers(0, 1000))), layout)
    return result


@pytest.fixture(params=SUFFIXES)
def suffix(request: pytest.FixtureRequest) -> str:
    if request.param == ".pt":
        pytest.importorskip("torch")
    return request.param


# --- round trips ---------------------------------------------------------------------------------------------------


@QUICK
@given(data=st.data(), mapped=st.booleans())
def test_round_trip(suffix: str, tmp_path: Path, data: st.DataObject, mapped: bool) -> None:
    arrays = data.draw(contents(suffix))
    path = tmp_path / f"weights{suffix}"
    files.write(path, arrays)
    found = files.read(path, mmap=mapped)
    assert set(found) == set(arrays)
    for name, array in arrays.items():
        wanted = array.reshape(-1) if suffix == ".wts" else array
        assert same(found[name], wanted), name
        assert found[name].flags.c_contiguous
        assert found[name].ctypes.data % found[name].dtype.itemsize == 0
    if suffix != ".safetensors":
        assert list(found) == list(arrays)
    assert os.listdir(tmp_path) == [path.name]


@QUICK
@given(metadata=st.dictionaries(st.text(max_size=8), st.text(max_size=8), max_size=4))
@pytest.mark.parametrize("suffix", WITH_METADATA)
def test_metadata_round_trip(suffix: str, tmp_path: Path, metadata: dict[str, str]) -> None:
    path = tmp_path / f"weights{suffix}"
    files.write(path, {"a": np.zeros(2, np.float32)}, metadata)
    assert files.read_metadata(path) == metadata
    assert list(files.read(path)) == ["a"]


def test_formats_without_metadata(tmp_path: Path) -> None:
    path = tmp_path / "a.wts"
    files.write(path, {"a": np.zeros(2, np.float32)})
    assert files.read_metadata(path) == {}
    with pytest.raises(ArgumentError, match="no place for metadata"):
        files.write(path, {}, {"epoch": "3"})


def test_same_arrays_make_the_same_bytes(suffix: str, tmp_path: Path) -> None:
    for name in ("first", "second"):
        files.write(tmp_path / f"{name}{suffix}", sample(suffix))
    assert (tmp_path / f"first{suffix}").read_bytes() == (tmp_path / f"second{suffix}").read_bytes()


def test_no_arrays(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"a{suffix}"
    files.write(path, {})
    assert files.read(path) == {}


def test_suffix_in_any_case_and_numpy_scalars(tmp_path: Path) -> None:
    path = tmp_path / "A.SafeTensors"
    files.write(str(path), {"a": np.float32(3)})  # type: ignore[dict-item]
    assert same(files.read(str(path))["a"], np.array(3, np.float32))


# --- other readers and writers -------------------------------------------------------------------------------------


def test_safetensors_library_reads_ours_and_writes_for_us(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    from safetensors.torch import load_file, save_file

    arrays = sample(".safetensors")
    files.write(tmp_path / "a.safetensors", arrays, {"format": "pt"})
    theirs = load_file(tmp_path / "a.safetensors")
    assert theirs["layer.bfloat16"].dtype == torch.bfloat16
    assert theirs["layer.float8_e4m3fn"].dtype == torch.float8_e4m3fn
    for name, tensor in theirs.items():
        assert tensor.reshape(-1).view(torch.uint8).numpy().tobytes() == arrays[name].tobytes()
    theirs["scalar"], theirs["empty"] = torch.tensor(2.5), torch.zeros(0, 3, dtype=torch.bfloat16)
    save_file(theirs, tmp_path / "b.safetensors", {"format": "pt"})
    ours = files.read(tmp_path / "b.safetensors")
    assert ours["scalar"].shape == ()
    assert ours["scalar"] == 2.5
    assert ours["empty"].shape == (0, 3)
    assert ours["empty"].dtype == ml_dtypes.bfloat16
    assert all(same(ours[name], array) for name, array in arrays.items())
    assert files.read_metadata(tmp_path / "b.safetensors") == {"format": "pt"}


def test_npz_against_numpy(tmp_path: Path) -> None:
    arrays = {name: values(name, (3,)) for name in ("float32", "int64", "bool")}
    np.savez_compressed(tmp_path / "a.npz", fortran=np.asfortranarray(np.arange(6.0).reshape(2, 3)), **arrays)  # type: ignore[arg-type]
    ours = files.read(tmp_path / "a.npz")
    assert all(same(ours[name], array) for name, array in arrays.items())
    assert ours["fortran"].flags.c_contiguous
    assert ours["fortran"].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert files.read_metadata(tmp_path / "a.npz") == {}
    files.write(tmp_path / "b.npz", {**arrays, "half": np.ones(2, ml_dtypes.bfloat16)})
    with np.load(tmp_path / "b.npz") as theirs:
        assert set(theirs) == {*arrays, "half", "__trtnet__"}
        assert all(same(theirs[name], array) for name, array in arrays.items())
        assert theirs["half"].tolist() == [0x3F80, 0x3F80]
        assert json.loads(str(theirs["__trtnet__"]))["dtypes"] == {"half": "bfloat16"}
    files.write(tmp_path / "c.npz", arrays)
    with np.load(tmp_path / "c.npz") as theirs:
        assert set(theirs) == set(arrays)


@pytest.mark.parametrize("key", [None, "state_dict", "model_state_dict", "model"])
@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("ending", [".pt", ".pth", ".bin"])
def test_torch_checkpoints(tmp_path: Path, key: str | None, zipped: bool, ending: str) -> None:
    torch = pytest.importorskip("torch")
    model = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))
    state = model.state_dict()
    state["half"] = torch.arange(6).to(torch.bfloat16).reshape(2, 3).T
    state["float8"] = torch.arange(4).to(
        torch.float8_e4m3fn if zipped else torch.float16
    )  # torch's old format has none
    state["parameter"] = model[0].weight
    path = tmp_path / f"a{ending}"
    saved = state if key is None else {key: state, "epoch": 3, "optimizer": {"lr": 0.1}}
    torch.save(saved, path, _use_new_zipfile_serialization=zipped)
    ours = files.read(path)
    assert list(ours) == list(state)
    for name, tensor in state.items():
        assert ours[name].shape == tuple(tensor.shape)
        assert ours[name].astype(np.float64).tolist() == tensor.double().tolist()
    assert ours["half"].dtype == ml_dtypes.bfloat16
    assert ours["half"].flags.c_contiguous
    assert ours["float8"].dtype == (ml_dtypes.float8_e4m3fn if zipped else np.float16)
    assert ours["1.num_batches_tracked"].shape == ()
    assert ours["1.num_batches_tracked"].dtype == np.int64


def test_torch_reads_ours(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    arrays = sample(".pt")
    files.write(tmp_path / "a.pt", arrays)
    theirs = torch.load(tmp_path / "a.pt", weights_only=True)
    assert theirs["layer.bfloat16"].dtype == torch.bfloat16
    assert theirs["layer.float8_e5m2"].dtype == torch.float8_e5m2
    for name, tensor in theirs.items():
        assert tuple(tensor.shape) == (2, 3)
        assert tensor.reshape(-1).view(torch.uint8).numpy().tobytes() == arrays[name].tobytes()


WTS = "3\nconv1.weight 4 3f800000 c0000000 00000000 7F7fffff\nempty 0\nfc.bias 1 be40ee1b\n"


def test_wts_text(tmp_path: Path) -> None:
    path = tmp_path / "a.wts"
    path.write_text(WTS)
    ours = files.read(path)
    assert list(ours) == ["conv1.weight", "empty", "fc.bias"]
    assert ours["conv1.weight"].tolist() == [1.0, -2.0, 0.0, float(np.finfo(np.float32).max)]
    assert ours["empty"].shape == (0,)
    assert ours["fc.bias"][0] == struct.unpack(">f", bytes.fromhex("be40ee1b"))[0]
    assert all(array.dtype == np.float32 and array.dtype.isnative and array.flags.writeable for array in ours.values())
    files.write(path, {name: array.reshape(-1, 1) for name, array in ours.items()})
    assert path.read_text() == WTS.lower()


@pytest.mark.parametrize(
    "text", ["1\r\na 2 3f800000 3f800000\r\n", "1\n\na 2  3f800000 3f800000 \n\n", " 1 \na\t2\t3f800000   3f800000"]
)
def test_wts_layouts_that_other_writers_make(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.wts"
    path.write_bytes(text.encode())
    assert files.read(path)["a"].tolist() == [1.0, 1.0]


def test_wts_is_quick(tmp_path: Path) -> None:
    array = values("float32", (3_000_000,))
    files.write(tmp_path / "a.wts", {"a": array})
    start = os.times().user
    assert same(files.read(tmp_path / "a.wts")["a"], array)
    assert os.times().user - start < 5


# --- no copies -----------------------------------------------------------------------------------------------------


def root(array: np.ndarray) -> object:
    base: object = array
    while isinstance(base, np.ndarray) and base.base is not None:
        base = base.base
    return base


def test_safetensors_are_views_of_one_mapping(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    arrays = {**sample(".safetensors"), "scalar": np.array(1, np.float32), "empty": np.zeros((0, 2), np.int8)}
    files.write(path, arrays)
    found = files.read(path)
    roots = {id(root(array)) for array in found.values()}
    assert len(roots) == 1
    assert isinstance(root(found["scalar"]), mmap.mmap)
    whole = np.frombuffer(root(found["scalar"]), np.uint8)  # type: ignore[call-overload]
    assert whole.size == path.stat().st_size
    for name, array in found.items():
        assert not array.flags.writeable
        assert not array.flags.owndata
        assert np.shares_memory(array, whole) == (name != "empty")
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0
        with pytest.raises(ValueError, match="WRITEABLE"):
            array.flags.writeable = True


def test_mapping_lives_as_long_as_its_arrays(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    wanted = values("float32", (1000,))
    files.write(path, {"a": wanted, "b": wanted})
    one = files.read(path)["b"]
    files.write(path, {"a": np.zeros(1000, np.float32)})  # replaces the file; the old one stays as long as it is mapped
    path.unlink()
    gc.collect()
    assert same(one, wanted)


def test_without_mapping_everything_is_a_copy(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    files.write(path, sample(".safetensors"))
    found = files.read(path, mmap=False)
    for name, array in sample(".safetensors").items():
        assert same(found[name], array)
        assert found[name].flags.writeable
        assert found[name].flags.owndata
    if sys.platform == "linux":
        assert str(path) not in Path("/proc/self/maps").read_text()


def safetensors(header: object, data: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def entry(begin: int, end: int, shape: list[int], dtype: str = "F32") -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def test_only_unaligned_tensors_are_copied(tmp_path: Path) -> None:
    header = {
        "a": entry(0, 4, [1]),
        "flag": entry(4, 5, [1], "BOOL"),
        "b": entry(5, 9, [1]),
        "c": entry(9, 10, [1], "I8"),
    }
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path = tmp_path / "a.safetensors"
    path.write_bytes(safetensors(text, struct.pack("<f?fb", 1.5, True, 2.5, -3)[:5] + struct.pack("<fb", 2.5, -3)))
    found = files.read(path)
    assert {name: array.tolist() for name, array in found.items()} == {
        "a": [1.5],
        "flag": [True],
        "b": [2.5],
        "c": [-3],
    }
    assert [isinstance(root(array), mmap.mmap) for array in found.values()] == [True, True, False, True]
    assert all(not array.flags.writeable and array.flags.aligned for array in found.values())


def test_torch_files_are_mapped(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    path = tmp_path / "a.pt"
    arrays = {"a": values("float32", (5000,)), "b": values("bfloat16", (5000,))}
    files.write(path, arrays)
    found = files.read(path)
    assert all(not array.flags.writeable and not array.flags.owndata for array in found.values())
    if sys.platform == "linux":
        lines = [line.split() for line in Path("/proc/self/maps").read_text().splitlines() if str(path) in line]
        ranges = [[int(end, 16) for end in line[0].split("-")] for line in lines]
        assert all(any(low <= a.ctypes.data < high for low, high in ranges) for a in found.values())
    copies = files.read(path, mmap=False)
    assert all(same(copies[name], array) and copies[name].flags.writeable for name, array in arrays.items())


def test_imports_neither_torch_nor_safetensors() -> None:
    code = "import sys, trtnet.weights.files; print([m for m in sys.modules if m in ('torch', 'safetensors')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert done.stdout.strip() == "[]", done.stderr


# --- broken files --------------------------------------------------------------------------------------------------


def broken(path: Path, *words: str, remedy: str = "download or copy the file again") -> WeightsError:
    with pytest.raises(WeightsError) as caught:
        files.read(path)
    error = caught.value
    for word in words:
        assert word in str(error), str(error)
    assert error.remedy is not None
    assert remedy in error.remedy
    assert error.where is not None
    assert error.where.file == __file__
    return error


HUGE = 1 << 62
BROKEN_SAFETENSORS = {
    "empty": (b"", ["too short", "at least 10 bytes", "0 bytes"]),
    "html": (b"<!DOCTYPE html><html>Not found</html>", ["header's length does not fit"]),
    "pointer": (safetensors(b"version https://git-lfs"), ["no safetensors header", "b'version https://git-'"]),
    "leading space": (safetensors(b" {}"), ["no safetensors header"]),
    "header too long": (struct.pack("<Q", 100) + b"{}", ["header's length does not fit", "2 to 2 bytes", "100 bytes"]),
    "header huge": (struct.pack("<Q", 2**64 - 1) + b"{}", ["18,446,744,073,709,551,615 bytes"]),
    "no json": (safetensors(b"{nonsense}"), ["the header is no JSON"]),
    "no utf-8": (safetensors(b'{"\xff": 1}'), ["the header is no JSON", "utf-8"]),
    "nul padding": (safetensors(b"{}\0\0"), ["the header is no JSON", "Extra data"]),
    "surrogate": (safetensors(b'{"\\ud800": {}}'), ["the header is no JSON", "surrogates"]),
    "deep": (safetensors(b'{"a":' + b"[" * 200_000), ["the header is no JSON"]),
    "long number": (safetensors(b'{"a": 1' + b"0" * 10_000 + b"}"), ["the header is no JSON"]),
    "duplicate": (safetensors(b'{"a": 1, "b": 2, "a": 1}'), ["the header is no JSON", "'a' is there 2 times"]),
    "duplicate key": (safetensors(b'{"a": {"dtype": "F32", "dtype": "F16"}}'), ["'dtype' is there 2 times"]),
    "metadata": (safetensors({"__metadata__": {"epoch": 3}}), ["__metadata__ is not text", "'epoch': 3"]),
    "entry": (safetensors({"w": [1]}), ["the entry of 'w' is no tensor", "[1]"]),
    "no shape": (safetensors({"w": {"dtype": "F32", "data_offsets": [0, 4]}}), ["the entry of 'w' is no tensor"]),
    "negative": (safetensors({"w": entry(0, 4, [-1])}, b"abcd"), ["the shape of 'w' is wrong", "[-1]"]),
    "bool size": (safetensors({"w": entry(0, 4, [True])}, b"abcd"), ["the shape of 'w' is wrong", "[True]"]),
    "float size": (safetensors({"w": entry(0, 4, [1.0])}, b"abcd"), ["the shape of 'w' is wrong"]),  # type: ignore[list-item]
    "65 sizes": (safetensors({"w": entry(0, 4, [1] * 65)}, b"abcd"), ["the shape of 'w' is wrong"]),
    "offsets": (
        safetensors({"w": {**entry(0, 4, [1]), "data_offsets": [0]}}, b"abcd"),
        ["the data of 'w' lie outside"],
    ),
    "backwards": (safetensors({"w": entry(4, 0, [1])}, b"abcd"), ["the data of 'w' lie outside", "[4, 0]"]),
    "outside": (
        safetensors({"w": entry(0, 8, [2])}, b"abcd"),
        ["the data of 'w' lie outside", "from 0 to 4", "[0, 8]"],
    ),
    "product": (
        safetensors({"w": entry(0, 4, [2])}, b"abcd"),
        ["do not fit its shape", "8 bytes for F32 [2]", "4 bytes"],
    ),
    "overflow": (safetensors({"w": entry(0, 4, [HUGE, 4])}, b"abcd"), ["do not fit its shape"]),
    "huge empty": (safetensors({"w": entry(0, 0, [HUGE, HUGE, 0])}), ["NumPy cannot hold the shape of 'w'"]),
    "overlap": (
        safetensors({"a": entry(0, 4, [1]), "b": entry(0, 4, [1])}, b"abcd"),
        ["'b' overlaps the tensor before"],
    ),
    "hole": (safetensors({"a": entry(4, 8, [1])}, b"abcdefgh"), ["'a' leaves a hole before it", "offset 0"]),
    "uncovered": (safetensors({"a": entry(0, 4, [1])}, b"abcdefgh"), ["do not cover it"]),
    "bool": (safetensors({"a": entry(0, 2, [2], "BOOL")}, b"\1\2"), ["'a' is no bool tensor", "a byte of 2"]),
}


@pytest.mark.parametrize("case", BROKEN_SAFETENSORS)
def test_broken_safetensors(tmp_path: Path, case: str) -> None:
    content, words = BROKEN_SAFETENSORS[case]
    path = tmp_path / "a.safetensors"
    path.write_bytes(content)
    error = broken(path, f"{path} is damaged", *words)
    if case != "surrogate":
        assert error.expected is not None
    assert error.found is not None
    if case not in ("bool", "huge empty"):
        with pytest.raises(WeightsError):
            files.read_metadata(path)


@pytest.mark.parametrize("dtype", ["F4", "F6_E2M3", "F128", "f32", "", None, 3, ["F32"]])
def test_unknown_safetensors_dtype(tmp_path: Path, dtype: object) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(safetensors({"blocks.w": {"dtype": dtype, "shape": [1], "data_offsets": [0, 4]}}, b"abcd"))
    broken(
        path, "'blocks.w' in a type that trtnet cannot read", f"dtype {dtype!r}", "BF16", remedy="write the file again"
    )


@pytest.mark.parametrize(
    "content",
    [
        safetensors(b"{}    "),
        safetensors(b'{\n "a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4], "extra": 1}}\n', b"abcd"),
        safetensors({"a": entry(0, 0, [0]), "b": entry(0, 4, [1]), "c": entry(4, 4, [3, 0])}, b"abcd"),
        safetensors({"a": entry(0, 8, [1], "F64")}, b"abcdefgh"),
        safetensors({"b": entry(4, 8, [1]), "a": entry(0, 4, [])}, b"abcdefgh"),
    ],
)
@pytest.mark.parametrize("mapped", [True, False])
def test_unusual_but_valid_safetensors(tmp_path: Path, content: bytes, mapped: bool) -> None:
    from safetensors.numpy import load

    path = tmp_path / "a.safetensors"
    path.write_bytes(content)
    ours, theirs = files.read(path, mmap=mapped), load(content)
    assert set(ours) == set(theirs)
    assert all(same(ours[name], theirs[name]) for name in theirs)


def test_complex_safetensors_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(safetensors({"a": entry(0, 8, [1], "C64")}, struct.pack("<ff", 1, -2)))
    assert same(files.read(path)["a"], np.array([1 - 2j], np.complex64))


def test_truncated_anywhere(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"a{suffix}"
    arrays = {"first": values("float32", (2, 2)), "last": values("float32", (1,), 1)}
    files.write(path, arrays)
    content = path.read_bytes()
    for length in range(len(content)):
        if suffix == ".pt" and length % 5:
            continue
        path.write_bytes(content[:length])
        if suffix == ".wts" and length == len(content) - 1:
            assert same(files.read(path)["last"], arrays["last"])  # without the last line's end
            continue
        for mapped in (True, False):
            with pytest.raises(WeightsError) as caught:
                files.read(path, mmap=mapped)
            assert "again" in (caught.value.remedy or ""), str(caught.value)


def sound(path: Path, *, mmap: bool = True) -> None:
    """Checks that a file gives either arrays or a WeightsError with a remedy, and nothing else."""
    found: dict[str, np.ndarray] = {}
    refusal: WeightsError | None = None
    try:
        found = files.read(path, mmap=mmap)
    except WeightsError as error:
        refusal = error
    assert refusal is None or (refusal.remedy and str(refusal))
    for name, array in found.items():
        assert isinstance(name, str)
        assert len(array.tobytes()) == array.nbytes


@pytest.mark.parametrize("old_torch", [False, True])
def test_flipped_bits(suffix: str, tmp_path: Path, old_torch: bool) -> None:
    path = tmp_path / f"a{suffix}"
    arrays = {name: values(name, (2,)) for name in DTYPES[suffix][:8]}
    files.write(path, arrays)
    if old_torch:
        if suffix != ".pt":
            pytest.skip("one .pt format of two")
        torch = pytest.importorskip("torch")
        torch.save({"a": torch.ones(3), "b": torch.zeros(2)}, path, _use_new_zipfile_serialization=False)
    content = path.read_bytes()
    chance = random.Random(0)
    for _ in range(400):
        damaged = bytearray(content)
        for _ in range(chance.choice((1, 1, 3))):
            damaged[chance.randrange(len(damaged))] ^= 1 << chance.randrange(8)
        path.write_bytes(damaged)
        sound(path, mmap=chance.random() < 0.5)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=60), headed=st.booleans())
def test_random_bytes(suffix: str, tmp_path: Path, content: bytes, headed: bool) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_bytes(safetensors(b"{" + content) if headed else content)
    sound(path)


BROKEN_WTS = {
    "": ["line 1: the file is empty"],
    "conv 1 3f800000\n": ["line 1: the number of entries is missing or wrong", "'conv 1 3f800000'"],
    "-1\n": ["line 1: the number of entries", "'-1'"],
    "2\na 1 3f800000\n": ["line 1: entries are missing", "2 entries, as line 1 says", "1 entries"],
    "1\na 1 3f800000\nb 1 3f800000\n": ["line 3: there are more entries than line 1 says", "1 entries"],
    "1\na 3 3f800000 3f800000\n": ["line 2: 'a' has too few values", "3 values", "found:    2"],
    "1\na 1 3f800000 3f800000\n": ["line 2: 'a' has too many values", "1 values", "found:    2"],
    "1\na 99999999999 3f800000\n": ["line 2: 'a' has too few values", "99,999,999,999 values"],
    "1\na\n": ["line 2: the number of values of 'a' is missing or wrong"],
    "1\na x 3f800000\n": ["line 2: the number of values of 'a'", "'x'"],
    "1\na 2 3f800000 3f80000g\n": ["line 2: value 1 of 'a' is no float32", "8 hexadecimal digits", "'3f80000g'"],
    "1\na 2 3f800000 3f80\n": ["line 2: value 1 of 'a' is no float32", "'3f80'"],
    "1\na 2 3f800000 +f800000\n": ["line 2: value 1 of 'a' is no float32"],
    "1\na 2 3f80000  3f800000\n": ["line 2: value 0 of 'a' is no float32", "'3f80000'"],
    "1\na 2 0.5 -0.25\n": ["line 2: value 0 of 'a' is no float32", "'0.5'"],
    "2\na 1 3f800000\na 1 3f800000\n": ["line 3: 'a' is there twice"],
    "1\n\xff 1 3f800000\n": ["line 2: the name is no text", "UTF-8"],
}


@pytest.mark.parametrize("text", BROKEN_WTS)
def test_broken_wts(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.wts"
    path.write_bytes(text.encode("latin-1"))
    broken(path, *BROKEN_WTS[text])


def archive(path: Path, **members: bytes) -> None:
    with zipfile.ZipFile(path, "w") as file:
        for name, content in members.items():
            file.writestr(name.replace("_npy", ".npy"), content)


def npy(array: np.ndarray, **arguments: object) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, **arguments)  # type: ignore[arg-type]
    return buffer.getvalue()


def test_broken_npz(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    path.write_bytes(b"no zip")
    broken(path, "cannot be read as .npz", "BadZipFile")
    np.savez(path, weights=np.array([{"a": 1}], object))
    broken(path, "Python objects in 'weights.npy'", "only a pickle can load", remedy="write it again as numbers")
    np.savez(path, half=np.ones(2, ml_dtypes.bfloat16))
    broken(path, "does not say the type of 'half.npy'", "V2", "bfloat16", remedy="as .safetensors")
    archive(path, a_npy=npy(np.ones(2)) + b"more")
    broken(path, "'a.npy' is longer than its array")
    archive(path, a_npy=npy(np.ones(2))[:-1])
    broken(path, "cannot be read as .npz")
    archive(path, a_npy=npy(np.ones(2)).replace(b"(2,)", b"(2000000000000000,)".ljust(4))[:-1])
    broken(path)
    archive(path, readme=b"hello")
    broken(path, "'readme' is in it and is no array")
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("a.npy", npy(np.ones(2)))
        with pytest.warns(UserWarning, match="Duplicate"):
            file.writestr("a.npy", npy(np.zeros(2)))
    broken(path, "'a.npy' is in it twice")
    for side, word in (
        (b'{"dtypes": {"a": "object"}}', "the type of 'a' is unknown"),
        (b'{"dtypes": {"a": "bfloat16"}}', "'a' is no bfloat16"),
        (b'{"dtypes": {"b": "bfloat16"}}', "KeyError: 'b'"),
        (b"[1]", "cannot be read"),
        (b"{", "cannot be read"),
    ):
        archive(path, a_npy=npy(np.ones(2)), __trtnet___npy=npy(np.array(side.decode())))
        broken(path, word)


class Stranger:
    """Something that no weights-only loader may make."""


def test_torch_checkpoints_that_are_refused(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    path = tmp_path / "a.pt"
    resave = "torch.save(model.state_dict(), path)"
    torch.save({"a": torch.ones(1), "b": Stranger()}, path)
    error = broken(path, "Unsupported global", "Stranger", "weights_only", remedy=resave)
    assert "add_safe_globals" not in str(error)
    torch.save({"a": torch.ones(1), "epoch": 3, "config": {"x": "y"}}, path)
    broken(path, "no mapping from name to tensor", "'epoch' (a int), 'config' (a dict)", "state_dict", remedy=resave)
    torch.save({1: torch.ones(1)}, path)
    broken(path, "1 (a Tensor)", remedy=resave)
    torch.save([torch.ones(1)], path)
    broken(path, "a list", remedy=resave)
    torch.save({"a": torch.ones(2, 2).to_sparse()}, path)
    broken(path, "'a' in", "has no NumPy counterpart", "sparse", remedy="state_dict['a'].to_dense().float()")
    if hasattr(torch, "float4_e2m1fn_x2"):
        torch.save({"a": torch.zeros(2, dtype=torch.uint8).view(torch.float4_e2m1fn_x2)}, path)
        broken(path, "'a' in", "has no NumPy counterpart", "torch.float4_e2m1fn_x2", remedy="state_dict['a']")
    path.write_bytes(b"hello")
    broken(path, "torch cannot load it", "a file written by torch.save")


def test_code_in_a_pickle_never_runs(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    trace = tmp_path / "trace"
    path = tmp_path / "a.pt"
    path.write_bytes(f"cos\nmkdir\n(S'{trace}'\ntR.".encode())
    broken(path)
    assert not trace.exists()


def test_torch_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    path = tmp_path / "a.pth"
    path.write_bytes(b"x")
    for action in (lambda: files.read(path), lambda: files.write(path, {})):
        with pytest.raises(ProviderError, match=r"\.pth files need torch") as caught:
            action()
        assert "pip install 'trtnet[torch]'" in str(caught.value)
    assert path.read_bytes() == b"x"
    assert os.listdir(tmp_path) == ["a.pth"]


# --- sharded checkpoints -------------------------------------------------------------------------------------------


def sharded(folder: Path, placed: dict[str, object], **more: object) -> Path:
    files.write(folder / "model-1.safetensors", {"a": np.ones(2, np.float32), "b": np.ones(1, np.int8)})
    files.write(folder / "model-2.safetensors", {"c": np.ones(3, ml_dtypes.bfloat16)})
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": placed, **more}))
    return index


def test_sharded(tmp_path: Path) -> None:
    placed: dict[str, object] = {"c": "model-2.safetensors", "a": "model-1.safetensors", "b": "model-1.safetensors"}
    path = sharded(tmp_path, placed, metadata={"total_size": 15})
    found = files.read(path)
    assert list(found) == ["c", "a", "b"]
    assert found["c"].dtype == ml_dtypes.bfloat16
    assert isinstance(root(found["c"]), mmap.mmap)
    assert files.read(path, mmap=False)["a"].flags.writeable
    assert files.read_metadata(path) == {"total_size": "15"}


def test_broken_shards(tmp_path: Path) -> None:
    path = sharded(tmp_path, {"x": "model-1.safetensors"})
    broken(path, "lists tensors that its shards do not hold", "x (model-1.safetensors)", remedy="from one revision")
    for shard in ("../model-1.safetensors", "/etc/passwd", "a\0.safetensors", "", "model.pt"):
        broken(sharded(tmp_path, {"x": shard}), "no shard beside it", repr(shard), remedy="a source that you trust")
    path = sharded(tmp_path, {"a": "model-1.safetensors", "d": "model-3.safetensors"})
    with pytest.raises(WeightsNotFoundError, match="are missing") as caught:
        files.read(path)
    assert "model-3.safetensors" in str(caught.value)
    assert "download the missing shards" in str(caught.value)
    for text in (
        "",
        "[]",
        "{}",
        '{"weight_map": [1]}',
        '{"weight_map": {"a": 1}}',
        '{"weight_map": {}, "weight_map": {}}',
    ):
        path.write_text(text)
        broken(path, "is damaged")


# --- paths ---------------------------------------------------------------------------------------------------------


def test_unknown_suffix(tmp_path: Path) -> None:
    for name in ("model.onnx", "model", "model.safetensors.gz"):
        (tmp_path / name).write_bytes(b"")
        with pytest.raises(ArgumentError, match="names no weight format") as caught:
            files.read(tmp_path / name)
        assert all(known in str(caught.value) for known in files.SUFFIXES)
    for name in ("model.onnx", "model.safetensors.index.json"):
        with pytest.raises(ArgumentError, match="names no weight format that can be written"):
            files.write(tmp_path / name, {})


def test_missing_file_names_the_nearest(tmp_path: Path) -> None:
    files.write(tmp_path / "lenet.safetensors", {})
    for action in (files.read, files.read_metadata):
        with pytest.raises(FileNotFoundError, match="there is no file") as caught:
            action(tmp_path / "lenett.safetensors")
        assert isinstance(caught.value, WeightsNotFoundError)
        assert isinstance(caught.value, TrtnetError)
        assert f"did you mean {tmp_path / 'lenet.safetensors'}?" in str(caught.value)
        assert caught.value.where is not None
        assert caught.value.where.file == __file__
    with pytest.raises(WeightsNotFoundError, match="does not exist"):
        files.read(tmp_path / "nowhere" / "lenet.safetensors")
    with pytest.raises(WeightsNotFoundError, match="check the path"):
        files.read(tmp_path / "0.npz")


def test_folders_and_odd_paths(tmp_path: Path) -> None:
    folder = tmp_path / "a.safetensors"
    folder.mkdir()
    with pytest.raises(WeightsError, match="is a folder") as caught:
        files.read(folder)
    assert caught.value.found == "a folder without weight files"
    files.write(folder / "b.npz", {})
    with pytest.raises(WeightsError, match=r"name a file in it: .*b\.npz"):
        files.read(folder)
    with pytest.raises(WeightsError, match="is a folder"):
        files.write(folder, {})
    with pytest.raises(WeightsNotFoundError, match=r"the folder .*nowhere does not exist"):
        files.write(tmp_path / "nowhere" / "a.npz", {})
    with pytest.raises(TrtnetError):
        files.read("a\0b.npz")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_unreadable_file(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    files.write(path, {})
    path.chmod(0)
    with pytest.raises(WeightsError, match="cannot be read"):
        files.read(path)


# --- what cannot be written ----------------------------------------------------------------------------------------


def test_refused_contents(tmp_path: Path) -> None:
    def refused(kind: type[TrtnetError], name: str, arrays: object, *words: str, metadata: object = None) -> None:
        with pytest.raises(kind) as caught:
            files.write(tmp_path / name, arrays, metadata)  # type: ignore[arg-type]
        assert all(word in str(caught.value) for word in words), str(caught.value)
        assert os.listdir(tmp_path) == []

    one = np.ones(1, np.float32)
    refused(WeightsError, "a.wts", {"w": np.ones(1)}, "'w'", "float32", "float64", "array.astype(numpy.float32)")
    for name in ("", "a b", "a\n", "\ta"):
        refused(WeightsError, "a.wts", {name: one}, "without spaces")
    refused(WeightsError, "a.safetensors", {"w": np.ones(1, ml_dtypes.int4)}, "'w'", "found:    int4", "bfloat16")
    refused(WeightsError, "a.safetensors", {"w": np.array(["text"])}, "'w'", "<U4")
    refused(WeightsError, "a.safetensors", {"w": np.ones(1, np.complex64)}, "'w'", "complex64")
    refused(WeightsError, "a.safetensors", {"w": np.zeros(1, "f4,i4")}, "'w'")
    refused(WeightsError, "a.safetensors", {"__metadata__": one}, "'__metadata__'", "rename")
    refused(WeightsError, "a.npz", {"w": np.array([None])}, "'w'", "found:    object")
    refused(WeightsError, "a.npz", {"__trtnet__": one}, "'__trtnet__'")
    refused(WeightsError, "a.npz", {"a\0b": one}, "without NUL")
    refused(WeightsError, "a.npz", {"a" * 70_000: one}, "short name")
    refused(ArgumentTypeError, "a.npz", [one], "arrays is no mapping", "list")
    refused(ArgumentTypeError, "a.npz", {"w": [1.0]}, "'w' is no array", "list", "numpy.asarray")
    refused(ArgumentTypeError, "a.npz", {1: one}, "the name of an array is no text")
    refused(ArgumentError, "a.npz", {"\ud800": one}, "no Unicode text")
    refused(ArgumentTypeError, "a.npz", {}, "metadata['epoch'] is no text", "str(...)", metadata={"epoch": 3})
    refused(ArgumentTypeError, "a.npz", {}, "a key of metadata is no text", metadata={3: "epoch"})
    refused(ArgumentTypeError, "a.npz", {}, "metadata is no mapping", metadata=["x"])
    pytest.importorskip("torch")
    refused(WeightsError, "a.pt", {"w": np.ones(1, ml_dtypes.int4)}, "'w'", "int4")
    refused(ArgumentError, "a.pt", {"w": one}, "no place for metadata", metadata={"epoch": "3"})


# --- atomic writing ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", ["open", "fsync", "replace"])
@pytest.mark.parametrize("kind", [OSError, KeyboardInterrupt, ZeroDivisionError])
@pytest.mark.parametrize("old", [True, False])
def test_failure_leaves_the_old_file(
    suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, kind: type[BaseException], old: bool
) -> None:
    path = tmp_path / f"a{suffix}"
    arrays = {"w": np.ones(3, np.float32)}
    if old:
        files.write(path, arrays)

    def fail(*arguments: object) -> None:
        assert step == "open" or len(os.listdir(tmp_path)) == 1 + old
        raise kind("injected")

    if step == "open":
        monkeypatch.setitem(files._WRITERS, suffix, fail)
    else:
        monkeypatch.setattr(os, step, fail)
    with pytest.raises(WeightsError if kind is OSError else kind) as caught:
        files.write(path, {"w": np.zeros(3, np.float32)})
    monkeypatch.undo()
    if kind is OSError:
        assert "could not be written" in str(caught.value)
        assert "an old file of this name is unchanged" in str(caught.value)
        assert "injected" in str(caught.value)
    assert os.listdir(tmp_path) == ([path.name] if old else [])
    if old:
        assert same(files.read(path)["w"], arrays["w"])


def test_array_that_fails_while_it_is_written(suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / f"a{suffix}"
    files.write(path, {"w": np.ones(3, np.float32)})
    from trtnet.weights import npz, safetensors, torch_files, wts

    def native(array: np.ndarray) -> np.ndarray:
        if array[0] == 7:
            raise RuntimeError("injected")
        return array

    for module in (npz, safetensors, torch_files, wts):
        monkeypatch.setattr(module, "native", native)
    with pytest.raises(RuntimeError, match="injected"):
        files.write(path, {"fine": np.zeros(3, np.float32), "w": np.full(3, 7, np.float32)})
    monkeypatch.undo()
    assert os.listdir(tmp_path) == [path.name]
    assert files.read(path)["w"].tolist() == [1, 1, 1]


FULL_DISK = """
import resource, signal, sys
import numpy as np
from trtnet.weights import files
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
for path in sys.argv[1:]:
    try:
        files.write(path, {"w": np.zeros(100_000, np.float32)})
    except files.WeightsError as error:
        print(error.problem)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs a limit on file sizes")
def test_full_disk(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    paths = [str(tmp_path / f"a{suffix}") for suffix in SUFFIXES]
    for path in paths:
        files.write(path, {"w": np.ones(3, np.float32)})
    command = [sys.executable, "-c", FULL_DISK, *paths]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert done.stdout.splitlines() == [f"{path} could not be written" for path in paths], done.stderr
    assert sorted(os.listdir(tmp_path)) == sorted(Path(path).name for path in paths)
    assert all(files.read(path)["w"].tolist() == [1, 1, 1] for path in paths)


def test_permissions_and_links(suffix: str, tmp_path: Path) -> None:
    if os.name != "posix":
        pytest.skip("POSIX permissions")
    plain = tmp_path / "plain"
    plain.write_bytes(b"")
    path, link = tmp_path / f"a{suffix}", tmp_path / f"link{suffix}"
    files.write(path, {})
    assert path.stat().st_mode == plain.stat().st_mode
    path.chmod(0o440)
    link.symlink_to(path.name)
    files.write(link, {"w": np.ones(1, np.float32)})
    assert link.is_symlink()
    assert path.stat().st_mode & 0o777 == 0o440
    assert files.read(path)["w"].tolist() == [1]
    assert files.read(link)["w"].tolist() == [1]


def test_written_over_the_file_that_is_mapped(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    wanted = {"a": values("float32", (5000,)), "b": values("bfloat16", (7,))}
    files.write(path, wanted)
    for _ in range(3):
        files.write(path, files.read(path))
    assert all(same(files.read(path)[name], array) for name, array in wanted.items())


def test_name_as_long_as_the_file_system_allows() -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / ("a" * 251 + ".npz")
        files.write(path, {"w": np.ones(1)})
        assert list(files.read(path)) == ["w"]
