"""What a running call writes, told while it runs: piece by piece, bounded, as valid text, without the pool's secrets.

It never waits and starts no thread: whoever feeds it also has it look at the clock.
"""

from __future__ import annotations

import codecs
import time
from collections.abc import Callable, Mapping

from workers.sandbox.redaction import Redaction

PAUSE_SECONDS = 0.1
PIECE_BYTES = 8 * 1024
# A tool may write a letter now and then for hours, and each piece costs its readers far more than a letter.
MOST_LOOKS = 1000
# So often the streams may take turns in one piece; beyond it their order is not kept, for each turn is looked through.
MOST_TURNS = 256
CUT = "…"

Take = Callable[[bytes], None]


class LiveOutput:
    """Tells what the streams of one call say: at most one piece in `PAUSE_SECONDS`, and at the end all that is left.

    After `limit_bytes` of all streams together, or `MOST_LOOKS` pieces, a mark is told and nothing more. `tell` must
    neither block nor raise.
    """

    def __init__(
        self,
        tell: Callable[[str], object],
        *,
        secrets: Mapping[str, str],
        limit_bytes: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._tell = tell
        self._secrets = secrets
        self._room = limit_bytes
        self._clock = clock
        self._streams: list[_Stream] = []
        self._unread: list[tuple[_Stream, bytearray]] = []
        self._text = ""
        self._due: float | None = None
        self._looks = 0
        self._full = False
        self._marked = False

    def beside(self, keep: Take) -> Take:
        """What takes the chunks of one stream in, for `keep` and to be told."""
        stream = _Stream(self._secrets)
        self._streams.append(stream)

        def take(chunk: bytes) -> None:
            keep(chunk)
            if not self._full:
                self._take(stream, chunk)

        return take

    def look(self) -> None:
        """Tell the next piece if it is time."""
        if self._due is None or self._clock() < self._due:
            return
        self._looks += 1
        self._full = self._full or self._looks == MOST_LOOKS
        self._read()
        self._tell_piece()
        self._due = self._clock() + PAUSE_SECONDS if self._text else None

    def close(self) -> None:
        """Tell what is left; nothing is fed any more."""
        self._read()
        if not self._full:
            self._text += "".join(stream.rest() for stream in self._streams)
        while self._text:
            self._tell_piece()

    def _take(self, stream: _Stream, chunk: bytes) -> None:
        taken = chunk[: self._room]
        self._room -= len(taken)
        self._full = len(taken) < len(chunk)
        latest = next((written for of, written in reversed(self._unread[-2:]) if of is stream), None)
        if latest is not None and (self._unread[-1][0] is stream or len(self._unread) >= MOST_TURNS):
            latest += taken
        else:
            self._unread.append((stream, bytearray(taken)))
        if self._due is None:
            self._due = self._clock() + PAUSE_SECONDS

    def _read(self) -> None:
        """Make text of what came; what a stream holds back is dropped with the rest of it once there is too much."""
        unread, self._unread = self._unread, []
        self._text += "".join(stream.feed(chunk) for stream, chunk in unread)
        if self._full and not self._marked:
            self._marked = True
            self._text += CUT

    def _tell_piece(self) -> None:
        piece = self._text[:PIECE_BYTES].encode()[:PIECE_BYTES].decode("utf-8", "ignore")
        self._text = self._text[len(piece) :]
        if piece:
            self._tell(piece)


class _Stream:
    def __init__(self, secrets: Mapping[str, str]) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._redaction = Redaction(secrets)

    def feed(self, chunk: bytes | bytearray) -> str:
        return self._redaction.feed(self._decoder.decode(chunk))

    def rest(self) -> str:
        return self._redaction.feed(self._decoder.decode(b"", final=True)) + self._redaction.rest()
