"""The problem of a raw row, as chat messages."""

from __future__ import annotations

from typing import Any

from klear_data.sources.columns import Row, as_text, unquoted, unquoted_list
from klear_data.sources.testcases import first_test

Messages = list[dict[str, Any]]

CHAT_COLUMNS = ("messages", "conversations", "conversation")
TEXT_COLUMNS = (
    "problem", "question", "query", "original_text", "question_content", "description", "instruction", "text", "input",
)  # fmt: skip
# Codeforces statements come in parts (open-r1/codeforces); this is the order on the site.
_STATEMENT_PARTS = (("input_format", "Input"), ("output_format", "Output"), ("note", "Note"))
_ROLES = {"human": "user", "gpt": "assistant", "bot": "assistant", "model": "assistant"}


def read_prompt(row: Row) -> tuple[Messages, str | None]:
    """The messages up to the answer, and the answer where the chat goes on to give one.

    Raises:
        ValueError: no column holds a problem, or the chat in it is malformed.
    """
    prompt = unquoted_list(row.peek("prompt"), of=dict)
    if isinstance(prompt, list):
        row.take("prompt")
        return _split_chat(prompt, "prompt")
    if "prompt" in row and not isinstance(prompt, str | None):
        raise ValueError(f"column 'prompt' is a {type(prompt).__name__}; expected text or chat messages")
    text = _statement(row)
    for column in CHAT_COLUMNS:
        chat = unquoted_list(row.peek(column), of=dict)
        if not isinstance(chat, list):
            continue
        messages, answer = _split_chat(chat, column)
        if text is None or text.strip() == messages[-1]["content"].strip():
            row.take(column)
            return messages, answer
    if text is None:
        return _nothing_found(row), None
    return [{"role": "user", "content": text}], None


def _nothing_found(row: Row) -> Messages:
    known = ("prompt", *TEXT_COLUMNS, *CHAT_COLUMNS)
    if any(name in row for name in known):
        return [{"role": "user", "content": ""}]  # the column is there and empty: a filter's business, with a reason
    raise ValueError(
        f"no column holds a problem (columns: {', '.join(row.names()) or 'none'}); expected one of "
        f"{', '.join(known)}; rename the column that holds it"
    )


def _statement(row: Row) -> str | None:
    """The problem where it is plain text: as the source has it, plus what no answer can do without."""
    is_mbpp = row.peek("test_list") is not None
    # "instruction" is MBPP's text with its first test; in instruction sets "input" is the rest of it.
    text = row.take("instruction") if is_mbpp else None
    told = text is not None
    text = row.take("prompt", *TEXT_COLUMNS) if text is None else text
    if text is None:
        return None
    if not isinstance(text, str):
        raise ValueError(f"the problem is a {type(text).__name__}; expected text or chat messages")
    if is_mbpp:  # the function's name stands only in the tests
        example = None if told else first_test(row)
        return text if example is None else f"{text}\n{example}"
    if text is row.peek("instruction") and isinstance(row.peek("input"), str):
        return f"{text}\n\n{row.take('input')}"
    if row.peek("input_format", "output_format") is not None:
        return _codeforces_statement(row, text)
    starter = row.peek("starter_code")
    if isinstance(starter, str) and starter.strip() not in text:  # APPS and TACO name the function only there
        return f"{text}\n\n```python\n{starter.strip(chr(10))}\n```"
    return text


def _codeforces_statement(row: Row, description: str) -> str:
    parts = [description]
    parts += [f"{title}\n{as_text(row.take(column))}" for column, title in _STATEMENT_PARTS if row.peek(column)]
    examples = unquoted(row.peek("examples"))
    for example in examples if isinstance(examples, list) else []:
        if isinstance(example, dict):
            parts.append(f"Example input\n{example.get('input', '')}\nExample output\n{example.get('output', '')}")
    return "\n\n".join(parts)


def _split_chat(chat: list[Any], column: str) -> tuple[Messages, str | None]:
    messages = [_message(turn, column) for turn in chat]
    answer = None
    if len(messages) > 1 and messages[-1]["role"] == "assistant":
        answer = messages.pop()["content"]
    if not any(message["role"] == "user" for message in messages):
        raise ValueError(f"column {column!r} holds no message of a user; expected the problem in one")
    return messages, answer


def _message(turn: Any, column: str) -> dict[str, Any]:
    role = turn.get("role", turn.get("from")) if isinstance(turn, dict) else None
    content = turn.get("content", turn.get("value")) if isinstance(turn, dict) else None
    if not isinstance(role, str) or not isinstance(content, str):
        raise ValueError(
            f"column {column!r} is not a list of chat messages; expected [{{'role': …, 'content': …}}, …] "
            f"or [{{'from': …, 'value': …}}, …]"
        )
    return {"role": _ROLES.get(role, role), "content": content}
