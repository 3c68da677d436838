"""What an OpenAI-compatible server's answer means: a completion, or what to do about it."""

from __future__ import annotations

import re
import time
from email.utils import parsedate_to_datetime
from typing import Any

from klear_data.errors import KlearError, UsageError
from klear_data.generate.types import Completion

_ABOUT_CONTEXT = re.compile(
    r"context.{0,10}length|context_length_exceeded|max_model_len|maximum context|max_tokens", re.I
)


class Wait(Exception):
    """The server is busy or gone; ``after_s`` is how long it asks for, None where it does not say."""

    def __init__(self, reason: str, after_s: float | None = None) -> None:
        super().__init__(reason)
        self.after_s = after_s


class Retry(Exception):
    """This attempt failed, the next one may not."""


class TooLong(Exception):
    """Prompt and ``max_tokens`` do not fit into the model's context."""


def check_answer(
    status: int, text: str, *, url: str, model: str, worked_before: bool, retry_after: str | None = None
) -> None:
    """Raise what an HTTP status other than 200 means.

    Args:
        status: of the answer.
        text: its body.
        url, model: for the message.
        worked_before: other requests of this run succeeded, so a refusal is about this one alone.
        retry_after: the header, in seconds or as a date.

    Raises:
        Wait, Retry, TooLong: see there.
        UsageError: it will never work.
    """
    said = " ".join(text.split())[:200]
    if status in (429, 502, 503, 529):
        raise Wait(f"HTTP {status}: {said}" if said else f"HTTP {status}", _seconds(retry_after))
    if status in (400, 413, 422) and _ABOUT_CONTEXT.search(text):
        raise TooLong(said)
    if status >= 500 or status in (408, 409, 425) or (status in (400, 413, 422) and worked_before):
        raise Retry(f"HTTP {status}: {said}")
    raise _refusal(status, said, url, model)


def _refusal(status: int, said: str, url: str, model: str) -> KlearError:
    if status in (401, 403):
        advice = "expected a key that the server accepts; set OPENAI_API_KEY"
    elif status in (404, 405):
        advice = (
            f"expected this path and the model {model!r} there; check --base-url (it usually ends in /v1) and --model"
        )
    else:
        advice = "expected a request that the server accepts; check the options against what it supports"
    return UsageError(f"{url}: HTTP {status}: {said or 'no text'}; {advice}")


def _seconds(retry_after: str | None) -> float | None:
    """A ``Retry-After`` header: seconds, or the date when."""
    if retry_after is None:
        return None
    try:
        return max(0.0, float(retry_after))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(retry_after).timestamp() - time.time())
    except ValueError:
        return None


def completion_of(answer: Any, index: int) -> Completion:
    """The rollout in a chat completion.

    ``reasoning_content`` (vLLM's newer name: ``reasoning``) goes back between ``<think>`` tags before the answer.
    Where there is no answer the thinking never ended, and neither does the tag.

    Raises:
        Retry: it is no chat completion.
    """
    try:
        choice = answer["choices"][0]
        message = choice["message"]
        content = message.get("content") or ""
        reasoning = message.get("reasoning_content") or message.get("reasoning") or ""
        counted = (answer.get("usage") or {}).get("completion_tokens")
        finish_reason = choice.get("finish_reason") or "stop"
        if not (isinstance(content, str) and isinstance(reasoning, str) and isinstance(finish_reason, str)):
            raise TypeError("no text")
    except (KeyError, IndexError, TypeError, AttributeError):
        raise Retry(f"the answer is no chat completion: {str(answer)[:80]!r}") from None
    if reasoning:
        thought = f"<think>\n{reasoning.strip()}\n"
        content = f"{thought}</think>\n\n{content.lstrip()}" if content else thought
    return Completion(index, content, finish_reason, [], [], counted if isinstance(counted, int) else None)
