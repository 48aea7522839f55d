"""Weights in a folder: what changed is written, what is damaged is never applied, and files do not pile up."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys

import numpy as np
import pytest
from fleet.test_roads import fresh, read_back, stamped
from kills import child_that, killed_everywhere, needs_fork

from trtnet import fleet
from trtnet.errors import FleetError, ProviderError, WeightsError, WeightsNotFoundError
from trtnet.fleet.folder import Folder

pytest.importorskip("torch")
pytest.importorskip("xxhash")


def files(folder):
    return sorted(path.name for path in folder.glob("*.safetensors"))


def test_what_changed_is_written(tmp_path):
    receiver = Folder(tmp_path).receiver()
    with fleet.Publisher(tmp_path) as publisher:
        publisher.publish(stamped(1), version=1)
        report = publisher.publish(stamped(1) | {"w1": np.full(5, 2, np.float32)}, version=2)
        assert report.changed == ("w1",)
        assert publisher.publish(stamped(1) | {"w1": np.full(5, 2, np.float32)}, version=3).bytes == 0
        with receiver.receive() as update:
            assert {name: value[0] for name, value in update.values.items()} == {"w0": 1, "w1": 2, "w2": 1}
        publisher.publish(stamped(1) | {"w1": np.full(5, 4, np.float32)}, version=4)
        with pytest.raises(ZeroDivisionError), receiver.receive() as update:
            raise ZeroDivisionError
        with receiver.receive() as update:  # it counted as not received
            assert (list(update.values), update.bytes) == (["w1"], 20)
        with receiver.receive() as update:
            assert not update.values


def test_a_change_of_type_or_shape_alone_is_a_change(tmp_path):
    with fleet.Publisher(tmp_path) as publisher:
        publisher.publish({"a": np.zeros(8, np.float32), "b": np.zeros(4, np.int32)})
        assert publisher.publish({"a": np.zeros((4, 2), np.float32), "b": np.zeros(4, np.float32)}).changed == (
            "a",
            "b",
        )


def test_files_do_not_pile_up(tmp_path):
    follower = fleet.Follower(fresh(), tmp_path)
    with fleet.Publisher(tmp_path) as publisher:
        for version in range(1, 30):
            given = stamped(version) if version % 7 == 0 else stamped(version - version % 7)
            given |= {"w2": np.full(64, version, np.float32), "w0": np.full(3, version, np.float32)}
            publisher.publish(given, version=version)
            assert len(files(tmp_path)) <= 6
        follower.poll()
        assert follower.engine(np.zeros(1, np.float32)).tolist() == [29, 28, 29] * 2
    assert sum(path.stat().st_size for path in tmp_path.glob("*.safetensors")) < 4000


def test_older_files_stay_for_slow_followers(tmp_path):
    slow = Folder(tmp_path).receiver()
    with fleet.Publisher(Folder(tmp_path, keep=3)) as publisher:
        publisher.publish(stamped(1), version=1)
        old = slow._newest()
        publisher.publish(stamped(2), version=2)
        publisher.publish(stamped(3), version=3)
        assert {float(value[0]) for value in slow._values(old).values()} == {1.0}
        publisher.publish(stamped(4), version=4)
        with pytest.raises(WeightsNotFoundError, match="not there"):
            slow._values(old)
        with slow.receive() as update:
            assert update.head.version == 4


def damaged(folder, how):
    (name,) = files(folder)
    path = folder / name
    raw = path.read_bytes()
    manifest = folder / "manifest.json"
    told = json.loads(manifest.read_text())
    if how == "half a file":
        path.write_bytes(raw[: len(raw) // 2])
    elif how == "a flipped bit":
        path.write_bytes(raw[:-1] + bytes([raw[-1] ^ 1]))
    elif how == "an empty file":
        path.write_bytes(b"")
    elif how == "no file":
        path.unlink()
    elif how == "a folder":
        path.unlink()
        path.mkdir()
    elif how == "half a manifest":
        manifest.write_text(manifest.read_text()[:-20])
    elif how == "a lying version":
        manifest.write_text(json.dumps(told | {"version": 99}))
    elif how == "a lying checksum":
        told["tensors"]["w1"][1] = told["tensors"]["w0"][1]
        told.pop("checksum")
        sealed(manifest, told)
    elif how == "another tensor":
        told["tensors"]["w9"] = told["tensors"].pop("w1")
        told.pop("checksum")
        sealed(manifest, told)
    elif how == "a file elsewhere":
        told["tensors"]["w1"][0] = f"../{folder.name}/{name}"
        told.pop("checksum")
        sealed(manifest, told)
    elif how == "a newer format":
        told["format"] = 2
        told.pop("checksum")
        sealed(manifest, told)


def sealed(path, told):
    from xxhash import xxh3_128_hexdigest

    path.write_text(json.dumps(told | {"checksum": xxh3_128_hexdigest(json.dumps(told).encode())}))


@pytest.mark.parametrize(
    "how",
    [
        "half a file", "a flipped bit", "an empty file", "no file", "a folder", "half a manifest", "a lying version",
        "a lying checksum", "another tensor", "a file elsewhere", "a newer format",
    ],
)  # fmt: skip
def test_what_is_damaged_is_never_applied(how, tmp_path):
    follower = fleet.Follower(fresh(), tmp_path)
    with fleet.Publisher(tmp_path) as publisher:
        publisher.publish(stamped(1), version=1)
        follower.poll()
        publisher.publish(stamped(2), version=2)
        for name in files(tmp_path)[:1]:
            (tmp_path / name).unlink()
        damaged(tmp_path, how)
        for _ in range(2):
            with pytest.raises((WeightsError, WeightsNotFoundError)) as found:
                follower.poll()
            assert found.value.remedy
            assert (read_back(follower.engine), follower.version) == (1, 1)
        if how == "a folder":
            (tmp_path / files(tmp_path)[0]).rmdir()
        publisher.publish(stamped(3), version=3)
        follower.poll()
        assert (read_back(follower.engine), follower.version) == (3, 3)


def test_a_publisher_that_was_replaced_stops(tmp_path):
    old = fleet.Publisher(tmp_path)
    old.publish(stamped(1), version=1)
    new = fleet.Publisher(tmp_path)
    assert new.version == 1
    with pytest.raises(FleetError, match=r"taken .* over"):
        old.publish(stamped(2), version=2)
    assert new.publish(stamped(3)).version == 2
    follower = fleet.Follower(fresh(), tmp_path)
    follower.poll()
    assert read_back(follower.engine) == 3
    new.close()
    old.close()


@needs_fork
def test_a_publisher_may_be_killed_at_every_operation_on_files(tmp_path):
    follower = fleet.Follower(fresh(), tmp_path)
    with fleet.Publisher(tmp_path) as publisher:
        publisher.publish(stamped(0), version=0)
    follower.poll()
    version, kills = 0, 0

    def work():
        fleet.Publisher(tmp_path).publish(stamped(version + 1), version=version + 1)

    for killed in killed_everywhere(work, 200):
        kills += killed
        follower.poll()
        assert read_back(follower.engine) == follower.version
        assert version <= follower.version <= version + 1
        version = follower.version
    assert kills > 15
    assert version >= 2
    fleet.Publisher(tmp_path).close()
    assert not [path for path in tmp_path.rglob("*") if path.name.startswith(".")], "what was left is removed"


@needs_fork
def test_a_full_disk_leaves_what_was_there(tmp_path):
    """By a limit on a file's size: the system refuses a write as it does on a full disk."""
    with fleet.Publisher(tmp_path) as publisher:
        publisher.publish(stamped(1), version=1)

    def work():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        publisher = fleet.Publisher(tmp_path)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
        try:
            publisher.publish(stamped(2), version=2)
        except WeightsError as error:
            os._exit(7 if "make room" in error.remedy else 8)

    assert os.waitstatus_to_exitcode(os.waitpid(child_that(work), 0)[1]) == 7
    follower = fleet.Follower(fresh(), tmp_path)
    follower.poll()
    assert (read_back(follower.engine), follower.version) == (1, 1)
    assert len([path for path in tmp_path.rglob("*") if path.name.startswith(".")]) == 1, "its own, which is empty"


def test_a_place_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(WeightsError, match="could not be written"):
        fleet.Publisher(tmp_path / "file")


def test_without_xxhash(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "xxhash", None)
    with pytest.raises(ProviderError) as found:
        fleet.Publisher(tmp_path)
    assert "trtnet[fleet]" in found.value.remedy


def test_processes_follow(tmp_path):
    """A process that is started anew, and has nothing but the path."""
    with fleet.Publisher(tmp_path) as publisher:
        publisher.publish(stamped(5), version=5)
    code = (
        "import sys; from fleet.test_roads import fresh, read_back; from trtnet import fleet\n"
        f"f = fleet.Follower(fresh(), {f'dir:{tmp_path}'!r}); f.poll(); print('READ', read_back(f.engine), f.version)"
    )
    paths = os.pathsep.join(path for path in sys.path if path)
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, "PYTHONPATH": paths}
    )
    assert "READ 5.0 5" in ran.stdout, ran.stderr
