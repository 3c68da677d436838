"""Sampling with transformers: any causal model, on a laptop or a GPU, without a server.

The order of the results, and every random draw, depend on the seed, the record's id and the rollout's index
only: not on the batch size, nor on what else stands in the batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from klear_data.errors import RecordError, UsageError, require
from klear_data.generate.decode import Row, decode
from klear_data.generate.types import Completion, FinishReason, Prompt, Sampled, SamplingParams

WINDOW_BATCHES = 8
"""Batches read ahead and sorted by prompt length, so that a batch holds prompts of about one length."""


def load_model_and_tokenizer(
    path: str | Path, *, dtype: str = "auto", device: str | None = None, overrides: Mapping[str, Any] | None = None
) -> tuple[Any, Any]:
    """A causal model in evaluation mode and its tokenizer.

    Args:
        path: a folder in Hugging Face format, or a model id of the hub.
        dtype: ``auto`` (as saved), ``float32``, ``bfloat16``, ``float16``.
        device: ``cuda`` where there is one, else ``cpu``.
        overrides: entries of the model's config that differ from its folder's.

    Raises:
        UsageError: there is no model at ``path``, or it can't be read.
        CapabilityError: torch or transformers is not installed.
    """
    torch = require("torch", extra="train", needed_by="loading a model")
    transformers = require("transformers", extra="train", needed_by="loading a model")
    transformers.utils.logging.disable_progress_bar()  # loading is not what the user waits for
    safetensors = require("safetensors", extra="train", needed_by="loading a model")
    tokenizer = load_tokenizer(path)
    try:
        model, found = transformers.AutoModelForCausalLM.from_pretrained(
            str(path), dtype=dtype, ignore_mismatched_sizes=True, output_loading_info=True, **(overrides or {})
        )
    # RuntimeError: a torch archive that breaks off
    except (OSError, ValueError, KeyError, RuntimeError, safetensors.SafetensorError) as error:
        raise not_loaded(path, error) from error
    _check_weights(path, found)
    if len(tokenizer) > model.get_input_embeddings().num_embeddings:
        raise UsageError(
            f"{path}: the tokenizer has {len(tokenizer)} tokens but the model embeds "
            f"{model.get_input_embeddings().num_embeddings}; expected a tokenizer that fits; use the model's own"
        )
    model.to(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    return model.eval(), tokenizer


def load_tokenizer(path: str | Path) -> Any:
    """The tokenizer of a model folder or of a hub id.

    Raises:
        UsageError: there is none, or it can't be read.
        CapabilityError: transformers is not installed.
    """
    transformers = require("transformers", extra="train", needed_by="loading a tokenizer")
    check_folder(path)
    try:
        return transformers.AutoTokenizer.from_pretrained(str(path))
    except (OSError, ValueError, KeyError) as error:
        raise not_loaded(path, error) from error


def not_loaded(path: str | Path, error: Exception) -> UsageError:
    """The error for a model folder that transformers can't make a model of."""
    reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return UsageError(
        f"{path}: the model can't be loaded ({reason}); expected a causal language model with its tokenizer; check "
        "the path or the id"
    )


def _check_weights(path: str | Path, found: Mapping[str, Any]) -> None:
    """Raise UsageError if weights of the model are not in its files: transformers would draw them at random."""
    other = sorted(found["mismatched_keys"])
    missing = sorted(found["missing_keys"])
    if other:
        name, there, wanted = other[0]
        problem = f"{len(other)} weights have another shape, {name} {tuple(there)} and not {tuple(wanted)}"
    elif missing:
        problem = f"{len(missing)} weights are not in its files, {missing[0]} among them"
    else:
        return
    raise UsageError(
        f"{path}: {problem}; expected weights of the model that config.json describes; copy or download all of it anew"
    )


def check_folder(path: str | Path) -> None:
    """Raise UsageError if a path is no model folder and can't be an id of the hub either."""
    folder = Path(path)
    # What is not ORG/NAME can't be a hub id; asking the hub for it would only take time.
    is_local = folder.exists() or str(path).startswith((".", "/", "~")) or str(path).count("/") != 1
    if is_local and not (folder / "config.json").is_file():
        state = "has no config.json" if folder.is_dir() else "is no folder"
        raise UsageError(
            f"{path}: this {state}; expected a model folder in Hugging Face format (config.json, weights, "
            "tokenizer) or a hub id like Qwen/Qwen3-8B; check the path"
        )


def template_note(tokenizer: Any) -> str | None:
    """What the user should know about how prompts are rendered, None where the tokenizer's template does it."""
    if getattr(tokenizer, "chat_template", None):
        return None
    return "the tokenizer has no chat template: the messages' texts are used, each followed by an empty line"


def encode_prompt(tokenizer: Any, messages: list[dict[str, Any]], *, of: str = "a prompt") -> list[int]:
    """Token ids of a chat up to where the assistant begins; see :func:`template_note` for plain tokenizers.

    A template that opens ``<think>`` itself leaves it in the prompt: the completion then starts inside it.

    Raises:
        RecordError: the template refuses the messages of ``of``.
        UsageError: the template can't be read.
    """
    templated = template_note(tokenizer) is None  # the template writes the special tokens itself
    text = checked_text(tokenizer, messages, of=of)
    return list(tokenizer(text, add_special_tokens=not templated).input_ids)


def checked_text(tokenizer: Any, messages: list[dict[str, Any]], *, of: str = "a prompt") -> str:
    """As :func:`prompt_text`, with errors of the template as errors of :func:`encode_prompt`."""
    jinja2 = require("jinja2", extra="train", needed_by="a chat template")
    try:
        return prompt_text(tokenizer, messages)
    except jinja2.TemplateSyntaxError as error:
        raise UsageError(
            f"the model's chat template: it can't be read ({error}); expected a Jinja template; mend it, or take the "
            "tokenizer's files of the model's publisher"
        ) from error
    except jinja2.TemplateError as error:
        raise RecordError(
            f"{of}: the chat template refuses its messages ({error}); expected turns it knows; mend the record, or "
            "leave out --system"
        ) from error


def prompt_text(tokenizer: Any, messages: list[dict[str, Any]]) -> str:
    """A chat as the text that :func:`encode_prompt` makes tokens of."""
    if template_note(tokenizer) is not None:
        text = "".join(message["content"] + "\n\n" for message in messages)
    else:
        text = str(tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False))
    return text.encode("utf-8", "replace").decode("utf-8")  # half a surrogate pair, which no tokenizer takes: "?"


def generate(
    model: Any,
    tokenizer: Any,
    prompts: Iterable[Prompt],
    params: SamplingParams,
    *,
    batch_size: int = 64,
    on_sampled: Callable[[Sampled], None] | None = None,
) -> Iterator[Sampled]:
    """Sample ``params.n`` completions of each prompt, in the order of the prompts.

    Args:
        model, tokenizer: from :func:`load_model_and_tokenizer`.
        prompts: read ahead by a window of a few batches.
        params: how to sample.
        batch_size: rollouts written at the same time.
        on_sampled: called as soon as the last rollout of a prompt is written, before its turn in the order
            comes; for work that can overlap with the rest of the batch, as judging does.
    """
    prompts = iter(prompts)
    per_window = max(1, WINDOW_BATCHES * batch_size // params.n)
    while window := list(islice(prompts, per_window)):
        results: dict[int, Sampled] = {}
        for finished in generate_window(model, tokenizer, window, params, batch_size=batch_size, on_sampled=on_sampled):
            results.update(finished)
        yield from (results[at] for at in range(len(window)))


def generate_window(
    model: Any,
    tokenizer: Any,
    window: list[Prompt],
    params: SamplingParams,
    *,
    batch_size: int,
    on_sampled: Callable[[Sampled], None] | None = None,
) -> Iterator[list[tuple[int, Sampled]]]:
    """Sample some prompts, sorted by length so that a batch holds prompts of about one length.

    Yields:
        After each batch the prompts that it finished, each by its position in the window.
    """
    eos_ids = end_tokens(model, tokenizer)
    room: int | None = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    encoded = [encode_prompt(tokenizer, one.messages, of=f"record {one.record_id}") for one in window]
    written: list[list[Completion]] = [[] for _ in window]
    finished: list[tuple[int, Sampled]] = []

    def finish(at: int, completion: Completion, *, too_long: bool = False) -> None:
        written[at].append(completion)
        if len(written[at]) == params.n:
            completions = sorted(written[at], key=lambda one: one.index)
            sampled = Sampled(window[at].record_id, encoded[at], completions, too_long)
            finished.append((at, sampled))
            if on_sampled is not None:
                on_sampled(sampled)

    def text_of(ids: list[int]) -> str:
        # Special tokens stay: some tokenizers count <think> among them.
        return tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)  # type: ignore[no-any-return]

    order = sorted(range(len(window)), key=lambda at: (len(encoded[at]), at))
    jobs: list[tuple[int, int]] = []  # (prompt, rollout index)
    for at in order:
        indices = range(window[at].first_index, window[at].first_index + params.n)
        if room is not None and len(encoded[at]) >= room:
            for index in indices:
                finish(at, Completion(index, "", "length", [], []), too_long=True)
        elif not encoded[at]:
            raise UsageError(
                f"record {window[at].record_id}: its prompt has no token; expected at least one to go on from; give "
                "the messages a text, or the tokenizer a chat template"
            )
        else:
            jobs += [(at, index) for index in indices]

    for start in range(0, len(jobs), batch_size):
        batch = jobs[start : start + batch_size]
        distinct = list(dict.fromkeys(at for at, _ in batch))
        place = {at: number for number, at in enumerate(distinct)}
        rows = [Row(place[at], window[at].record_id, index) for at, index in batch]

        def on_finish(
            row: int, ids: list[int], logprobs: list[float], reason: FinishReason, batch: Any = batch
        ) -> None:
            at, index = batch[row]
            text = text_of(ids[:-1] if ids[-1] in eos_ids else ids)
            finish(at, Completion(index, before_stop(text, params.stop), reason, ids, logprobs))

        decode(
            model, [encoded[at] for at in distinct], rows, params, eos_ids=eos_ids, room=room, on_finish=on_finish,
            is_stop=stop_detector(text_of, params.stop),
        )  # fmt: skip
        yield finished
        finished = []
    if finished:
        yield finished


def before_stop(text: str, stop: tuple[str, ...]) -> str:
    """The text up to the first of the stop texts.

    >>> before_stop("a. b. c", (". ", "b"))
    'a'
    """
    return text[: min((found for one in stop if (found := text.find(one)) >= 0), default=len(text))]


def stop_detector(text_of: Callable[[list[int]], str], stop: tuple[str, ...]) -> Callable[[list[int]], bool] | None:
    """Says of a row's tokens whether a stop text has just been written; None where there is none to look for."""
    if not stop:
        return None
    # A token holds a byte at least; four more, in case the tail begins inside a character.
    tail = max(len(one.encode()) for one in stop) + 4
    return lambda ids: any(one in text_of(ids[-tail:]) for one in stop)


class TransformersEngine:
    """See :class:`klear_data.generate.types.Engine`: a window of prompts at a time, handed out batch by batch."""

    def __init__(
        self, path: str, params: SamplingParams, *, batch_size: int = 64, dtype: str = "auto",
        device: str | None = None, overrides: Mapping[str, Any] | None = None,
    ) -> None:  # fmt: skip
        self._model, self._tokenizer = load_model_and_tokenizer(path, dtype=dtype, device=device, overrides=overrides)
        self.note = template_note(self._tokenizer)
        self.params, self._batch_size = params, batch_size
        self._pending: list[tuple[int, Prompt]] = []
        self._numbers: list[int] = []
        self._window: Iterator[list[tuple[int, Sampled]]] = iter(())

    def wants_more(self) -> bool:
        return len(self._pending) * self.params.n < WINDOW_BATCHES * self._batch_size

    def submit(self, number: int, prompt: Prompt) -> None:
        self._pending.append((number, prompt))

    def step(self) -> list[tuple[int, Sampled]]:
        finished = next(self._window, None)
        if finished is None:
            pending, self._pending = self._pending, []
            self._numbers = [number for number, _ in pending]
            window = [prompt for _, prompt in pending]
            self._window = generate_window(
                self._model, self._tokenizer, window, self.params, batch_size=self._batch_size
            )
            finished = next(self._window, [])
        return [(self._numbers[at], sampled) for at, sampled in finished]

    def close(self) -> None:
        pass


def end_tokens(model: Any, tokenizer: Any) -> set[int]:
    """Every token that ends a completion: the tokenizer's and those of the generation config."""
    found = getattr(model.generation_config, "eos_token_id", None)
    listed = found if isinstance(found, list) else [found]
    return {token for token in [*listed, tokenizer.eos_token_id] if token is not None}
