"""PyTorch checkpoints whose pickle, archive and records do not agree: refused, or read as they were written."""

import io
import pickletools
import random
import zipfile

import numpy as np
import pytest

from trtnet.errors import TrtnetError, WeightsError
from trtnet.weights import torch_claims
from trtnet.weights.files import read

torch = pytest.importorskip("torch")

TENSORS = {
    "a": torch.arange(10.0), "b": torch.full((10,), 77.0), "half": torch.ones(3, dtype=torch.float16),
    "long": torch.arange(4), "bool": torch.tensor([True, False]), "fp8": torch.ones(4).to(torch.float8_e4m3fn),
    "bf16": torch.ones(5, dtype=torch.bfloat16), "complex": torch.ones(2, dtype=torch.complex64),
    "view": torch.arange(20.0)[5:9], "empty": torch.zeros(0), "scalar": torch.tensor(3.0),
}  # fmt: skip


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "w.pt"
    torch.save(dict(TENSORS), path)
    return path


def rezipped(path, change, compression=zipfile.ZIP_STORED):
    """The archive again, whole and with right checksums, with `change(name, bytes)` for each record."""
    with zipfile.ZipFile(path) as archive:
        records = {info.filename: archive.read(info) for info in archive.infolist()}
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in records.items():
            archive.writestr(name, change(name, data))


def numbers(pickle, number):
    """The places of a one-byte number in a pickle."""
    return [at + 1 for op, argument, at in pickletools.genops(pickle) if op.name == "BININT1" and argument == number]


@pytest.mark.parametrize("mmap", [True, False])
@pytest.mark.parametrize("count", [11, 12, 20, 200])
def test_a_claim_of_more_than_the_record_holds(path, mmap, count):
    torch.save({"a": torch.arange(10.0), "b": torch.full((10,), 77.0)}, path)

    def claim(name, data):
        if name.endswith("data.pkl"):
            data = bytearray(data)
            for at in numbers(bytes(data), 10)[:2]:  # the storage's elements, and the tensor's size
                data[at] = count
        return bytes(data)

    rezipped(path, claim)
    with pytest.raises(WeightsError, match=rf"(?s)claims more of the record '0'.*{count * 4} bytes.*found: +40 bytes"):
        read(path, mmap=mmap)


@pytest.mark.parametrize("mmap", [True, False])
def test_a_record_of_a_wider_type(path, mmap):
    torch.save({"a": torch.arange(10.0), "b": torch.full((10,), 77.0)}, path)
    rezipped(path, lambda name, data: data.replace(b"FloatStorage", b"DoubleStorage"))
    with pytest.raises(WeightsError, match="claims more of the record"):
        read(path, mmap=mmap)


@pytest.mark.parametrize("mmap", [True, False])
def test_a_missing_record(path, mmap):
    rezipped(path, lambda name, data: b"" if name.endswith("data/0") else data)
    with pytest.raises(WeightsError, match=r"(?s)claims more of the record '0'.*found: +0 bytes"):
        read(path, mmap=mmap)


def same(arrays):
    return arrays.keys() == TENSORS.keys() and all(
        np.array_equal(np.asarray(arrays[n]).view(np.uint8), t.contiguous().view(-1).view(torch.uint8).numpy())
        if t.numel() and t.dim()
        else np.asarray(arrays[n]).size == t.numel()
        for n, t in TENSORS.items()
    )


@pytest.mark.parametrize("mmap", [True, False])
def test_what_is_compressed_is_read(path, mmap):
    assert same(read(path, mmap=mmap))
    rezipped(path, lambda name, data: data, zipfile.ZIP_DEFLATED)
    assert same(read(path, mmap=mmap))


@pytest.mark.parametrize("mmap", [True, False])
def test_damage_beside_the_values(path, mmap):
    """Any bytes changed beside the tensors' own: an error, or the tensors as they were written."""
    whole, chance, refused = path.read_bytes(), random.Random(int(mmap)), 0
    inside = set()
    with zipfile.ZipFile(io.BytesIO(whole)) as archive:
        for info in archive.infolist():
            if "/data/" in info.filename:
                at = whole.index(archive.read(info), info.header_offset + 30) if info.file_size else 0
                inside |= set(range(at, at + info.file_size))
    places = [at for at in range(len(whole)) if at not in inside]
    for _ in range(1500):
        data = bytearray(whole)
        for at in chance.sample(places, chance.randint(1, 3)):
            data[at] = chance.randrange(256)
        path.write_bytes(data)
        try:
            found = read(path, mmap=mmap)
        except TrtnetError:
            refused += 1
        else:
            assert same(found)
    assert 300 < refused < 1500


def test_claims_are_those_that_torch_reads(path):
    """The same records, classes and counts as torch's own unpickler asks for."""
    with zipfile.ZipFile(path) as archive:
        name = next(n for n in archive.namelist() if n.endswith("data.pkl"))
        found = list(torch_claims._claims(archive.read(name)))
    storages = []

    def seen(storage, place):
        storages.append(storage.nbytes())
        return storage

    torch.load(path, weights_only=True, map_location=seen)
    assert [count * torch_claims._SIZES.get(kind, 1) for _, kind, count in found] == storages
    assert torch_claims.check(path)
