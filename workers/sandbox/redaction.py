"""Secrets out of a text that comes piece by piece, as `output.redact` takes them out of one that is there as a whole.

It never gives a part of a secret away because the rest of it is still on its way.
"""

from __future__ import annotations

from collections.abc import Mapping

from workers.sandbox.output import forms


class Redaction:
    """What `feed` gives back may be shown; held back is only what may be the beginning of a secret.

    However the text is cut into pieces, the same comes out of it. Of secrets that overlap the first one is named.
    """

    def __init__(self, secrets: Mapping[str, str]) -> None:
        self._marks = [(form, f"[secret {name}]") for name, secret in secrets.items() for form in forms(secret)]
        self._held = ""
        self._covered = 0  # so much of what is held belongs to a secret that was marked already

    def feed(self, text: str) -> str:
        """The next piece of the text, behind what was held back of the last one."""
        text = self._held + text
        return self._released(text, self._first_doubt(text))

    def rest(self) -> str:
        """What was held back, now that nothing follows."""
        return self._released(self._held, len(self._held))

    def _released(self, text: str, end: int) -> str:
        shown, at = [], self._covered
        for start, stop, mark in self._found(text):
            if start >= end:
                break
            if start >= at:
                shown += [text[at:start], mark]
            at = max(at, stop)
        shown.append(text[at:end])
        self._held, self._covered = text[end:], max(0, at - end)
        return "".join(shown)

    def _found(self, text: str) -> list[tuple[int, int, str]]:
        """Where secrets stand, the first one first, and of those that begin together the longest."""
        found = []
        for form, mark in self._marks:
            start = text.find(form)
            while start >= 0:
                found.append((start, start + len(form), mark))
                start = text.find(form, start + 1)
        return sorted(found, key=lambda place: (place[0], -place[1]))

    def _first_doubt(self, text: str) -> int:
        """From where on the text may be a secret whose end has not come yet."""
        doubt = len(text)
        for form, _ in self._marks:
            start = text.find(form[0], max(0, len(text) - len(form) + 1), doubt)
            while start >= 0:
                if form.startswith(text[start:]):
                    doubt = start
                    break
                start = text.find(form[0], start + 1, doubt)
        return doubt
