"""The child that decodes compressed frames: what it does, and that it is gone afterwards, come what may."""

import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from codestreams import by_gdcm, lossless_jpeg
from pydicom.uid import JPEG2000Lossless, JPEGLosslessSV1

from medgan.errors import MedganError
from medgan.volume.dicom import decode_child, decoder
from medgan.volume.dicom.codestream import read_codestream
from medgan.volume.dicom.decoder import Decoder

PIXELS = np.arange(9 * 11, dtype=np.uint16).reshape(9, 11) * 41
FRAME = lossless_jpeg(PIXELS, bits=12)
posix_only = pytest.mark.skipif(os.name != "posix", reason="signals are POSIX")


def decode(child, frame=FRAME):
    return child.decode(read_codestream(frame), JPEGLosslessSV1, where="ct/IM1.dcm")


@pytest.fixture
def traces(tmp_path, monkeypatch):
    """Return what is left of the children: their folders and their processes."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    children = []
    popen = subprocess.Popen
    monkeypatch.setattr(
        decoder.subprocess, "Popen", lambda *args, **options: children.append(popen(*args, **options)) or children[-1]
    )

    def left():
        return (
            [child.pid for child in children if child.returncode is None],
            list(tmp_path.glob("medgan-*")),
            len(children),
        )

    return left


def test_one_child_decodes_every_frame_and_is_gone_afterwards(traces):
    with Decoder() as child:
        assert traces() == ([], [], 0)
        for _ in range(3):
            np.testing.assert_array_equal(decode(child), PIXELS)
        running, folders, number = traces()
        assert (len(running), len(folders), number) == (1, 1, 1)
    assert traces() == ([], [], 1)


@pytest.mark.parametrize("error", [MedganError, KeyboardInterrupt, SystemExit])
def test_the_child_is_gone_after_any_exception(traces, error):
    def use():
        with Decoder() as child:
            decode(child)
            raise error

    with pytest.raises(error):
        use()
    assert traces() == ([], [], 1)


@posix_only
def test_an_interrupt_while_it_waits_ends_the_child_at_once(traces, request):
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    request.addfinalizer(lambda: signal.signal(signal.SIGINT, before))
    with Decoder() as child:
        decode(child)
        os.kill(child._child.pid, signal.SIGSTOP)
        threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
        with pytest.raises(KeyboardInterrupt):
            decode(child)
        assert traces() == ([], [], 1)
        np.testing.assert_array_equal(decode(child), PIXELS)  # by a second child, which is not out of step
    assert traces() == ([], [], 2)


@posix_only
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
def test_a_child_that_dies_is_told_with_its_signal(traces, number):
    with Decoder() as child:
        decode(child)
        os.kill(child._child.pid, number)
        with pytest.raises(
            MedganError,
            match=rf"^ct/IM1.dcm is damaged: .* the decoder ended with signal {int(number)}; copy it again\.$",
        ):
            decode(child)
        assert traces() == ([], [], 1)


@posix_only
def test_a_child_that_hangs_is_ended_by_the_time_limit(traces, monkeypatch):
    monkeypatch.setattr(decoder, "_FRAME_SECONDS", 0.6)
    with Decoder() as child:
        decode(child)
        os.kill(child._child.pid, signal.SIGSTOP)
        with pytest.raises(MedganError, match=r"^ct/IM1.dcm cannot be decoded within the limit of 1 s"):
            decode(child)
        assert traces() == ([], [], 1)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits a process's memory")
def test_memory_beyond_the_limit_is_refused(traces, monkeypatch):
    monkeypatch.setattr(decoder, "_FRAME_MEMORY", 1 << 20)
    monkeypatch.setattr(decoder, "_MEMORY_PER_PIXEL", 0)
    stream = read_codestream(by_gdcm(np.zeros((1500, 1500), np.uint16), JPEG2000Lossless))
    with (
        Decoder() as child,
        pytest.raises(MedganError, match=r"ct/IM1.dcm cannot be decoded within the limit of 1 MiB"),
    ):
        child.decode(stream, JPEG2000Lossless, where="ct/IM1.dcm")
    assert traces() == ([], [], 1)


def test_a_damaged_frame_is_told_and_the_next_one_decoded(traces, capfd):
    with Decoder() as child:
        with pytest.raises(MedganError, match=r"^ct/IM1.dcm is damaged: its pixel data cannot be decoded"):
            decode(child, FRAME[:-40] + b"\xff\xd9")
        with pytest.raises(MedganError, match="cannot be decoded"):
            child.decode(read_codestream(FRAME), JPEG2000Lossless, where="ct/IM1.dcm")
        np.testing.assert_array_equal(decode(child), PIXELS)
    assert traces() == ([], [], 1)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("program", "message"),
    [
        ("raise SystemExit(3)", r"did not start \(exit code 3\)"),
        ("import sys; sys.stdout.buffer.write(b'x' * 5)", r"did not start \(exit code 0\)"),
        ("import sys; sys.stderr.write('noise'); sys.exit(4)", r"did not start \(exit code 4\)"),
    ],
)
def test_a_child_that_does_not_start_or_talks_nonsense_is_told(traces, monkeypatch, tmp_path, capfd, program, message):
    (tmp_path / "child.py").write_text(program)
    monkeypatch.setattr(decode_child, "__file__", str(tmp_path / "child.py"))
    with Decoder() as child, pytest.raises(MedganError, match=f"ct/IM1.dcm.*({message})"):
        decode(child)
    assert traces() == ([], [], 1)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(("bits", "num_bytes"), [(24, 9 * 11 * 3), (16, 9 * 11), (16, 1 << 40), (0, 0)])
def test_an_answer_of_another_size_is_not_believed(traces, monkeypatch, tmp_path, bits, num_bytes):
    lines = [
        "import struct, sys",
        "answer, out = struct.Struct('<B2HQ'), sys.stdout.buffer",
        "out.write(answer.pack(0, 0, 0, 0)); out.flush()",
        "sys.stdin.buffer.read(64)",
        f"out.write(answer.pack(1, {bits}, 0, {num_bytes}) + bytes({min(num_bytes, 4000)})); out.flush()",
    ]
    (tmp_path / "child.py").write_text("\n".join(lines))
    monkeypatch.setattr(decode_child, "__file__", str(tmp_path / "child.py"))
    with (
        Decoder() as child,
        pytest.raises(MedganError, match=r"ct/IM1.dcm is damaged: its pixel data cannot be decoded"),
    ):
        decode(child)
    assert traces() == ([], [], 1)


def test_no_python_to_start_is_told(monkeypatch):
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with (
        Decoder() as child,
        pytest.raises(MedganError, match=r"ct/IM1.dcm: no child process .* could be started \(No such file"),
    ):
        decode(child)


def decode_in_worker(_):
    with Decoder() as child:
        return int(decode(child).sum())


def test_it_works_in_a_spawned_worker():
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.map(decode_in_worker, [0]) == [int(PIXELS.sum())]


def test_it_works_in_a_script_without_a_main_guard_from_any_folder(tmp_path):
    (tmp_path / "SimpleITK.py").write_text("raise SystemExit('the wrong SimpleITK')")  # not to be found by the child
    script = tmp_path / "deep" / "script.py"
    script.parent.mkdir()
    script.write_text(
        "from medgan.volume.dicom.codestream import read_codestream\n"
        "from medgan.volume.dicom.decoder import Decoder\n"
        f"frame = bytes.fromhex('{FRAME.hex()}')\n"
        "with Decoder() as decoder:\n"
        f"    print(decoder.decode(read_codestream(frame), '{JPEGLosslessSV1}', where='x').sum())\n"
    )
    done = subprocess.run([sys.executable, str(script)], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == (f"{PIXELS.sum()}\n", "")


def is_running(pid):
    """Return whether a process still computes: one that nobody has waited for yet does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


@posix_only
def test_a_child_whose_parent_is_killed_leaves_nothing(tmp_path):
    script = (
        "import os, signal, tempfile\n"
        f"tempfile.tempdir = {str(tmp_path)!r}\n"
        "from medgan.volume.dicom.codestream import read_codestream\n"
        "from medgan.volume.dicom.decoder import Decoder\n"
        f"frame = bytes.fromhex('{FRAME.hex()}')\n"
        "decoder = Decoder()\n"
        f"decoder.decode(read_codestream(frame), '{JPEGLosslessSV1}', where='x')\n"
        "print(decoder._child.pid, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    pid = int(done.stdout)
    deadline = time.monotonic() + 10
    while (left := list(tmp_path.glob("medgan-*"))) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert left == []
    while is_running(pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not is_running(pid)


def test_the_program_imports_nothing_of_medgan():
    source = Path(decode_child.__file__).read_text(encoding="utf-8")
    assert "import medgan" not in source
    assert "from medgan" not in source
