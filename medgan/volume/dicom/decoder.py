"""Decoding frames of the JPEG family in a child process with limits on memory and time.

The decoders below SimpleITK (GDCM with libjpeg, CharLS, OpenJPEG) are C++ that has advisories without a patch, and the
frames come from strangers. So another process decodes them: what it writes, crashes or takes is not ours.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from medgan.errors import MedganError
from medgan.volume.dicom import decode_child
from medgan.volume.dicom.codestream import Codestream
from medgan.volume.dicom.decode_child import ANSWER, DECODED, OUT_OF_MEMORY, REQUEST
from medgan.volume.itk import check_simpleitk

_START_SECONDS = 60.0
_FRAME_SECONDS = 10.0
_SECONDS_PER_PIXEL = 2e-6  # JPEG 2000, the slowest, takes 0.3e-6 on one core
_FRAME_MEMORY = 64 << 20
_MEMORY_PER_PIXEL = 32  # JPEG 2000 takes up to 8 beyond these 64 MiB: planes of 32-bit coefficients
_ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "MALLOC_ARENA_MAX")


class _EndedError(Exception):
    """The child answers no more; says how it ended."""


class _TooLateError(_EndedError):
    """The child was ended because it took too long."""


class Decoder:
    """A child process that decodes frames; it starts at the first one and is gone when the context ends.

    Not for use by two threads at once.

    Example:
        >>> with Decoder() as decoder:  # doctest: +SKIP
        ...     pixels = decoder.decode(read_codestream(frame), syntax, where="IM0001.dcm")
    """

    def __init__(self) -> None:
        self._child: subprocess.Popen[bytes] | None = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def decode(self, stream: Codestream, syntax: str, *, where: str) -> np.ndarray:
        """Return the values of a frame as its codestream holds them, integers, axes (rows, columns).

        Args:
            stream: the frame.
            syntax: the transfer syntax UID.
            where: names the file in messages.

        Raises:
            MedganError: if the frame cannot be decoded, or not within the limits, or the child ends.
        """
        num_pixels = stream.rows * stream.columns
        seconds = _FRAME_SECONDS + _SECONDS_PER_PIXEL * num_pixels
        memory = _FRAME_MEMORY + _MEMORY_PER_PIXEL * num_pixels + 4 * len(stream.data)
        self._start(where)
        outcome, bits, is_signed, pixels = self._ask(
            REQUEST.pack(
                syntax.encode(),
                stream.rows,
                stream.columns,
                stream.bits,
                int(stream.is_signed),
                len(stream.data),
                memory,
                seconds,
            )
            + stream.data,
            seconds,
            most_bytes=4 * num_pixels,
            where=where,
        )
        if outcome == OUT_OF_MEMORY:
            raise MedganError(
                f"{where} cannot be decoded within the limit of {memory >> 20} MiB of memory; it is damaged or hostile."
            )
        if outcome != DECODED or bits not in (8, 16, 32) or len(pixels) * 8 != num_pixels * bits:
            raise MedganError(f"{where} is damaged: its pixel data cannot be decoded; copy it again.")
        decoded: np.ndarray = np.frombuffer(pixels, f"<{'i' if is_signed else 'u'}{bits // 8}")
        return decoded.reshape(stream.rows, stream.columns)

    def close(self) -> None:
        """End the child and remove what it left; the next frame would start another."""
        child, self._child = self._child, None
        if child is not None:
            child.kill()
            for pipe in (child.stdin, child.stdout):
                assert pipe is not None
                with contextlib.suppress(OSError):  # what is left in the buffer has no reader any more
                    pipe.close()
            child.wait()
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None

    def _start(self, where: str) -> None:
        if self._child is not None:
            return
        check_simpleitk()
        self._folder = tempfile.TemporaryDirectory(prefix="medgan-")
        # A bare interpreter without site-packages: only what decodes is to be found there.
        search_path = sorted({str(Path(origin).parents[1]) for origin in _library_files()})
        command = [sys.executable, "-I", "-S", decode_child.__file__, self._folder.name, json.dumps(search_path)]
        try:
            self._child = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env={**os.environ, **dict.fromkeys(_ONE_THREAD, "1")},
            )
        except OSError as error:
            self.close()
            raise MedganError(f"{where}: no child process to decode it could be started ({error.strerror}).") from error
        try:
            self._exchange(b"", _START_SECONDS, most_bytes=0)  # it says when it is ready
        except _EndedError as error:
            raise MedganError(
                f"{where}: the child process that decodes its pixel data did not start ({error}); free some memory, or "
                "reinstall simpleitk."
            ) from error

    def _ask(self, request: bytes, seconds: float, *, most_bytes: int, where: str) -> tuple[int, int, int, bytes]:
        try:
            return self._exchange(request, seconds, most_bytes=most_bytes)
        except _TooLateError as error:
            raise MedganError(
                f"{where} cannot be decoded within the limit of {seconds:.0f} s; it is damaged or hostile."
            ) from error
        except _EndedError as error:
            raise MedganError(
                f"{where} is damaged: its pixel data cannot be decoded, the decoder ended with {error}; copy it again."
            ) from error

    def _exchange(self, request: bytes, seconds: float, *, most_bytes: int) -> tuple[int, int, int, bytes]:
        """Return the answer to a request: outcome, bits of a pixel, whether signed, pixels."""
        child = self._child
        assert child is not None
        assert child.stdin is not None
        assert child.stdout is not None
        try:
            with _killed_after(seconds, child) as is_late:
                with contextlib.suppress(BrokenPipeError):  # it has ended; reading tells how
                    child.stdin.write(request)
                    child.stdin.flush()
                header = child.stdout.read(ANSWER.size)
                if len(header) == ANSWER.size:
                    outcome, bits, is_signed, num_bytes = ANSWER.unpack(header)
                    pixels = child.stdout.read(min(num_bytes, most_bytes))
                    if len(pixels) == num_bytes:
                        return outcome, bits, is_signed, pixels
            raise _how_it_ended(child, is_late=is_late.is_set())
        except BaseException:  # Ctrl-C too: what the child says next would be taken for the next frame
            self.close()
            raise


def _library_files() -> list[str]:
    specs = [find_spec(name) for name in ("numpy", "SimpleITK")]
    return [spec.origin for spec in specs if spec is not None and spec.origin is not None]


@contextlib.contextmanager
def _killed_after(seconds: float, child: subprocess.Popen[bytes]) -> Iterator[threading.Event]:
    """Kill the child unless the block ends in time; the event tells that it was."""
    is_late = threading.Event()

    def kill() -> None:
        is_late.set()
        child.kill()

    timer = threading.Timer(seconds, kill)
    timer.daemon = True
    timer.start()
    try:
        yield is_late
    finally:
        timer.cancel()


def _how_it_ended(child: subprocess.Popen[bytes], *, is_late: bool) -> _EndedError:
    child.kill()
    code = child.wait()
    if is_late or code == -getattr(signal, "SIGXCPU", 0):
        return _TooLateError("no answer in time")
    return _EndedError(f"signal {-code}" if code < 0 else f"exit code {code}")
