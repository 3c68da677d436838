"""A place in a text that is being read."""

from __future__ import annotations

import re


class NotReadable(ValueError):
    """The formula is outside the small grammar."""


class Cursor:
    """The text and how far it has been read; blanks mean nothing."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0

    def skip(self) -> None:
        while self.at < len(self.text) and self.text[self.at] in " \t\n":
            self.at += 1

    def peek(self) -> str:
        self.skip()
        return self.text[self.at] if self.at < len(self.text) else ""

    def take(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        self.skip()
        match = pattern.match(self.text, self.at)
        if match:
            self.at = match.end()
        return match

    def expect(self, token: str) -> None:
        self.skip()
        if not self.text.startswith(token, self.at):
            raise NotReadable(f"expected {token!r} at {self.at}")
        self.at += len(token)
