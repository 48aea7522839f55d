"""The library for LD_PRELOAD, in processes of their own: against a stand-in for the driver that counts its calls."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import textwrap

import pytest

from trtnet.cli import preload
from trtnet.errors import ProviderError

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="LD_PRELOAD is Linux's"),
    pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler here"),
]

DRIVER = """
#include <string.h>
int calls;
int cuDeviceGetAttribute(int *value, int attribute, int device)
{
    calls++;
    if (device == 7) return 101; /* CUDA_ERROR_INVALID_DEVICE */
    *value = 1000 * attribute + device + (attribute == 20 ? calls : 0);
    return 0;
}
int cuInit(unsigned flags) { return 40 + flags; }
int cuGetProcAddress_v2(const char *name, void **found, int version, unsigned long long flags, int *status);
int cuGetProcAddress(const char *name, void **found, int version, unsigned long long flags)
{
    *found = !strcmp(name, "cuDeviceGetAttribute") ? (void *)cuDeviceGetAttribute
        : !strcmp(name, "cuInit") ? (void *)cuInit
        : strcmp(name, "cuGetProcAddress") ? 0
        : version >= 12000 ? (void *)cuGetProcAddress_v2 : (void *)cuGetProcAddress;
    return *found ? 0 : 500;
}
int cuGetProcAddress_v2(const char *name, void **found, int version, unsigned long long flags, int *status)
{
    *status = 0;
    return cuGetProcAddress(name, found, version, flags);
}
"""

CLIENT = """
import ctypes, json, sys
from ctypes import byref, c_int, c_uint64, c_void_p

driver = ctypes.CDLL(sys.argv[1])
ATTRIBUTE = ctypes.CFUNCTYPE(c_int, c_void_p, c_int, c_int)
FIRST = ctypes.CFUNCTYPE(c_int, ctypes.c_char_p, c_void_p, c_int, c_uint64)
SECOND = ctypes.CFUNCTYPE(c_int, ctypes.c_char_p, c_void_p, c_int, c_uint64, c_void_p)

def by(get, name, version, *more):
    found = c_void_p()
    assert get(name.encode(), byref(found), version, 0, *more) == 0, name
    return found.value

status = c_int()
first = FIRST(by(driver.cuGetProcAddress, "cuGetProcAddress", 11080))
second = SECOND(by(first, "cuGetProcAddress", 12000))
third = SECOND(by(second, "cuGetProcAddress", 12080, byref(status)))
functions = [
    driver.cuDeviceGetAttribute,
    ATTRIBUTE(by(driver.cuGetProcAddress, "cuDeviceGetAttribute", 11080)),
    ATTRIBUTE(by(first, "cuDeviceGetAttribute", 11080)),
    ATTRIBUTE(by(second, "cuDeviceGetAttribute", 12000, byref(status))),
    ATTRIBUTE(by(third, "cuDeviceGetAttribute", 12080, byref(status))),
    ATTRIBUTE(by(driver.cuGetProcAddress_v2, "cuDeviceGetAttribute", 12080, byref(status))),
]
initialize = ctypes.CFUNCTYPE(c_int, ctypes.c_uint)(by(second, "cuInit", 12000, byref(status)))
assert driver.cuInit(2) == initialize(2) == 42
unknown = c_void_p()
assert second(b"cuNothing", byref(unknown), 12000, 0, byref(status)) == 500 and unknown.value is None

calls = c_int.in_dll(driver, "calls")
found = {}
for attribute, device in ((13, 0), (36, 0), (13, 1), (16, 0), (20, 0), (13, 7), (13, 99), (13, -1)):
    calls.value = 0
    answers = set()
    for function in functions * 3:
        value = c_int(-5)
        result = function(byref(value), attribute, device)
        answers.add((result, value.value) if attribute != 20 else (result, 0))
    found[f"{attribute},{device}"] = [calls.value, sorted(answers)]
sys.path.insert(0, sys.argv[2])
from trtnet.cli import preload
found["answers"] = preload.answers()
print(json.dumps(found))
"""


def compiled(path, text):
    source = path.with_suffix(".c")
    source.write_text(text)
    subprocess.run(["cc", "-shared", "-fPIC", "-o", str(path), str(source), "-ldl"], check=True)
    return path


def python(text, *arguments, libraries=()):
    environment = os.environ | {"LD_PRELOAD": ":".join(map(str, libraries))}
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(text), *map(str, arguments)],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    return preload.library(tmp_path_factory.mktemp("library"))


def test_each_clock_rate_is_asked_for_once(library, tmp_path, pytestconfig):
    driver = compiled(tmp_path / "driver.so", DRIVER)
    plain = json.loads(python(CLIENT, driver, pytestconfig.rootpath))
    found = json.loads(python(CLIENT, driver, pytestconfig.rootpath, libraries=[library]))
    assert plain.pop("answers") is None
    for key, (calls, answers) in plain.items():
        assert calls == 18
        assert found[key][1] == answers, key
    counts = {key: value[0] for key, value in found.items() if key != "answers"}
    assert counts == {"13,0": 1, "36,0": 1, "13,1": 1, "16,0": 18, "20,0": 18, "13,7": 18, "13,99": 18, "13,-1": 18}
    assert found["answers"] == 3 * 17


def test_what_follows_the_caller_is_still_found(library, tmp_path):
    """RTLD_NEXT in another preloaded library means what comes after that library."""
    wrapper = compiled(
        tmp_path / "wrapper.so",
        """
        #define _GNU_SOURCE
        #include <dlfcn.h>
        int getppid(void) { return -((int (*)(void))dlsym(RTLD_NEXT, "getppid"))(); }
        """,
    )
    text = "import ctypes, os; print(ctypes.CDLL(None).getppid(), ctypes.CDLL('libm.so.6').cosf is not None)"
    for libraries in ([library, wrapper], [wrapper, library]):
        assert python(text, libraries=libraries).split() == [str(-os.getpid()), "True"]


def test_it_is_compiled_once(library, monkeypatch):
    written = library.stat().st_mtime_ns
    monkeypatch.setenv("PATH", "")
    assert preload.library(library.parent) == library
    assert library.stat().st_mtime_ns == written
    assert [p.name for p in library.parent.iterdir()] == [library.name]
    assert preload.answers() is None


def test_where_it_is_kept(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "caches"))
    path = preload.library()
    assert path.parent == tmp_path / "caches" / "trtnet"
    shown = subprocess.run([sys.executable, "-m", "trtnet", "preload"], capture_output=True, text=True)
    assert shown.stdout == f"{path}\n"


def test_what_cannot_be(monkeypatch, tmp_path):
    with pytest.raises(ProviderError, match=r"(?s)no path with a space or a colon.*a b.*--folder"):
        preload.library(tmp_path / "a b")
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file", tmp_path / "file" / "inside"):
        with pytest.raises(ProviderError, match=r"(?s)cannot be kept there.*file.*preload --folder /another/folder"):
            preload.library(place)
    (tmp_path / "file").unlink()
    monkeypatch.setenv("CC", "false")
    with pytest.raises(ProviderError, match=r"(?s)was not compiled.*false -O2.*another compiler"):
        preload.library(tmp_path)
    monkeypatch.setenv("CC", "no-such-compiler")
    with pytest.raises(ProviderError, match=r"(?s)C compiler: no-such-compiler.*install gcc.*live=True"):
        preload.library(tmp_path)
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr(sys, "platform", "win32")
    with pytest.raises(ProviderError, match=r"(?s)made for Linux with glibc.*live=True"):
        preload.library(tmp_path)
