"""Sampling with transformers: any causal model, on a laptop or a GPU, without a server.

The order of the results, and every random draw, depend on the seed, the record's id and the rollout's index
only: not on the batch size, nor on what else stands in the batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from klear_data.errors import UsageError, require
from klear_data.generate.decode import Row, decode
from klear_data.generate.types import Completion, FinishReason, Prompt, Sampled, SamplingParams

WINDOW_BATCHES = 8
"""Batches read ahead and sorted by prompt length, so that a batch holds prompts of about one length."""


def load_model_and_tokenizer(path: str | Path, *, dtype: str = "auto", device: str | None = None) -> tuple[Any, Any]:
    """A causal model in evaluation mode and its tokenizer.

    Args:
        path: a folder in Hugging Face format, or a model id of the hub.
        dtype: ``auto`` (as saved), ``float32``, ``bfloat16``, ``float16``.
        device: ``cuda`` where there is one, else ``cpu``.

    Raises:
        UsageError: there is no model at ``path``, or it can't be read.
        CapabilityError: torch or transformers is not installed.
    """
    torch = require("torch", extra="train", needed_by="loading a model")
    transformers = require("transformers", extra="train", needed_by="loading a model")
    transformers.utils.logging.disable_progress_bar()  # loading is not what the user waits for
    folder = Path(path)
    # What is not ORG/NAME can't be a hub id; asking the hub for it would only take time.
    is_local = folder.exists() or str(path).startswith((".", "/", "~")) or str(path).count("/") != 1
    if is_local and not (folder / "config.json").is_file():
        state = "has no config.json" if folder.is_dir() else "is no folder"
        raise UsageError(
            f"{path}: this {state}; expected a model folder in Hugging Face format (config.json, weights, "
            "tokenizer) or a hub id like Qwen/Qwen3-8B; check the path"
        )
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(str(path))
        model = transformers.AutoModelForCausalLM.from_pretrained(str(path), dtype=dtype)
    except (OSError, ValueError, KeyError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UsageError(
            f"{path}: the model can't be loaded ({reason}); expected a causal language model with its "
            "tokenizer; check the path or the id"
        ) from error
    if len(tokenizer) > model.get_input_embeddings().num_embeddings:
        raise UsageError(
            f"{path}: the tokenizer has {len(tokenizer)} tokens but the model embeds "
            f"{model.get_input_embeddings().num_embeddings}; expected a tokenizer that fits; use the model's own"
        )
    model.to(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    return model.eval(), tokenizer


def template_note(tokenizer: Any) -> str | None:
    """What the user should know about how prompts are rendered, None where the tokenizer's template does it."""
    if getattr(tokenizer, "chat_template", None):
        return None
    return "the tokenizer has no chat template: the messages' texts are used, each followed by an empty line"


def encode_prompt(tokenizer: Any, messages: list[dict[str, Any]]) -> list[int]:
    """Token ids of a chat up to where the assistant begins; see :func:`template_note` for plain tokenizers.

    A template that opens ``<think>`` itself leaves it in the prompt: the completion then starts inside it.
    """
    if template_note(tokenizer) is None:
        text = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
        ids = tokenizer(text, add_special_tokens=False).input_ids
    else:
        ids = tokenizer("".join(message["content"] + "\n\n" for message in messages)).input_ids
    return list(ids)


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
        yield from _generate_window(model, tokenizer, window, params, batch_size, on_sampled)


def _generate_window(
    model: Any,
    tokenizer: Any,
    window: list[Prompt],
    params: SamplingParams,
    batch_size: int,
    on_sampled: Callable[[Sampled], None] | None,
) -> list[Sampled]:
    eos_ids = end_tokens(model, tokenizer)
    room: int | None = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    encoded = [encode_prompt(tokenizer, prompt.messages) for prompt in window]
    written: list[list[Completion]] = [[] for _ in window]
    results: dict[int, Sampled] = {}

    def finish(at: int, completion: Completion, *, too_long: bool = False) -> None:
        written[at].append(completion)
        if len(written[at]) == params.n:
            completions = sorted(written[at], key=lambda one: one.index)
            results[at] = Sampled(window[at].record_id, encoded[at], completions, too_long)
            if on_sampled is not None:
                on_sampled(results[at])

    order = sorted(range(len(window)), key=lambda at: (len(encoded[at]), at))
    jobs: list[tuple[int, int]] = []  # (prompt, rollout index)
    for at in order:
        indices = range(window[at].first_index, window[at].first_index + params.n)
        if room is not None and len(encoded[at]) >= room:
            for index in indices:
                finish(at, Completion(index, "", "length", [], []), too_long=True)
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
            shown = ids[:-1] if reason == "stop" else ids
            # Special tokens stay: some tokenizers count <think> among them.
            text = tokenizer.decode(shown, skip_special_tokens=False, clean_up_tokenization_spaces=False)
            finish(at, Completion(index, text, reason, ids, logprobs))

        decode(
            model, [encoded[at] for at in distinct], rows, params, eos_ids=eos_ids, room=room, on_finish=on_finish
        )  # fmt: skip
    return [results[at] for at in range(len(window))]


def end_tokens(model: Any, tokenizer: Any) -> set[int]:
    """Every token that ends a completion: the tokenizer's and those of the generation config."""
    found = getattr(model.generation_config, "eos_token_id", None)
    listed = found if isinstance(found, list) else [found]
    return {token for token in [*listed, tokenizer.eos_token_id] if token is not None}
