"""Sampling with transformers on a tiny random model: reproducible, exact, and complete."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

import torch
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

from klear_data.errors import UsageError
from klear_data.generate.decode import sample
from klear_data.generate.transformers_backend import (
    before_stop,
    encode_prompt,
    generate,
    load_model_and_tokenizer,
    stop_detector,
    template_note,
)
from klear_data.generate.types import Completion, Prompt, Sampled, SamplingParams
from klear_train.tiny import END, make_tiny_model

TEXTS = ["a", "Add one and two.", "What?", "What is the answer to this question?", "b" * 60]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    path = tmp_path_factory.mktemp("tiny") / "model"
    return make_tiny_model(path, hidden_size=32, num_layers=2, num_heads=2, max_length=128)


@pytest.fixture(scope="module")
def loaded(folder: Path) -> tuple[Any, Any]:
    return load_model_and_tokenizer(folder, dtype="float32")


def prompts(texts: list[str] = TEXTS) -> list[Prompt]:
    return [Prompt(f"id-{text[:8]}", [{"role": "user", "content": text}]) for text in texts]


def run(
    loaded: tuple[Any, Any], params: SamplingParams, asked: list[Prompt] | None = None, **how: Any
) -> list[Sampled]:
    return list(generate(*loaded, prompts() if asked is None else asked, params, **how))


def tokens(results: list[Sampled]) -> dict[str, list[list[int]]]:
    return {one.record_id: [completion.token_ids for completion in one.completions] for one in results}


def test_results_do_not_depend_on_batch_size_or_order(loaded: tuple[Any, Any]) -> None:
    params = SamplingParams(n=3, temperature=1.0, top_p=0.9, max_tokens=20, seed=5)
    whole = run(loaded, params, batch_size=64)
    assert [one.record_id for one in whole] == [prompt.record_id for prompt in prompts()]
    for batch_size in (1, 2, 7):
        assert tokens(run(loaded, params, batch_size=batch_size)) == tokens(whole)
    assert tokens(run(loaded, params, prompts()[::-1])) == tokens(whole)
    assert tokens(run(loaded, params, prompts()[1:2])) == {k: v for k, v in tokens(whole).items() if k == "id-Add one "}


def test_rollouts_of_a_record_differ_and_another_seed_gives_others(loaded: tuple[Any, Any]) -> None:
    params = SamplingParams(n=4, top_p=1.0, max_tokens=12, seed=5)
    first = tokens(run(loaded, params))
    assert all(len({tuple(ids) for ids in rollouts}) == 4 for rollouts in first.values())
    other = tokens(run(loaded, SamplingParams(n=4, top_p=1.0, max_tokens=12, seed=6)))
    assert all(first[key] != other[key] for key in first)


def test_appended_rollouts_are_those_a_larger_n_would_have_given(loaded: tuple[Any, Any]) -> None:
    five = run(loaded, SamplingParams(n=5, max_tokens=12, seed=1))
    later = [Prompt(p.record_id, p.messages, first_index=3) for p in prompts()]
    appended = run(loaded, SamplingParams(n=2, max_tokens=12, seed=1), later)
    for whole, part in zip(five, appended, strict=True):
        assert [c.index for c in part.completions] == [3, 4]
        assert part.completions == whole.completions[3:]


def test_growing_the_cache_and_drawing_in_blocks_change_nothing(loaded: tuple[Any, Any], monkeypatch) -> None:
    params = SamplingParams(n=3, top_p=1.0, max_tokens=40, seed=2)
    whole = tokens(run(loaded, params))
    monkeypatch.setattr("klear_data.generate.decode.DRAWS_AHEAD", 3)
    assert tokens(run(loaded, params)) == whole


def test_log_probabilities_are_the_model_s_own(loaded: tuple[Any, Any]) -> None:
    model, _ = loaded
    for temperature in (1.0, 0.5):
        for one in run(loaded, SamplingParams(n=2, temperature=temperature, top_p=0.8, max_tokens=15)):
            for completion in one.completions:
                ids = torch.tensor([one.prompt_ids + completion.token_ids])
                with torch.no_grad():
                    logprobs_TV = (model(ids).logits[0] / temperature).log_softmax(-1)
                start = len(one.prompt_ids) - 1
                expected = [float(logprobs_TV[start + t, token]) for t, token in enumerate(completion.token_ids)]
                assert completion.logprobs == pytest.approx(expected, abs=2e-5)


def test_greedy_decoding_is_what_transformers_generates(loaded: tuple[Any, Any]) -> None:
    model, tokenizer = loaded
    for one in run(loaded, SamplingParams(n=1, temperature=0.0, max_tokens=25)):
        expected = model.generate(
            torch.tensor([one.prompt_ids]), max_new_tokens=25, do_sample=False, pad_token_id=tokenizer.pad_token_id
        )
        assert one.completions[0].token_ids == expected[0, len(one.prompt_ids) :].tolist()


def test_grouped_query_attention_and_another_architecture_work_too(loaded: tuple[Any, Any]) -> None:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(loaded[1]), hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=64,
    )  # fmt: skip
    other = (LlamaForCausalLM(config).eval(), loaded[1])
    params = SamplingParams(n=2, max_tokens=20, seed=3)
    assert tokens(run(other, params, batch_size=1)) == tokens(run(other, params, prompts()))


def test_stop_and_length_are_told_apart_and_the_end_token_is_not_in_the_text(loaded: tuple[Any, Any]) -> None:
    tokenizer = loaded[1]
    results = run(loaded, SamplingParams(n=64, temperature=1.5, top_p=1.0, max_tokens=60), prompts(["a"]))
    completions = results[0].completions
    stopped = [c for c in completions if c.finish_reason == "stop"]
    cut = [c for c in completions if c.finish_reason == "length"]
    assert stopped
    assert cut
    assert all(c.token_ids[-1] == tokenizer.eos_token_id and not c.text.endswith(END) for c in stopped)
    assert all(len(c.token_ids) == 60 and tokenizer.eos_token_id not in c.token_ids for c in cut)
    assert stopped[0].as_rollout().keys() == {"index", "completion", "finish_reason", "num_tokens"}


def test_a_stop_text_ends_a_completion_and_is_not_part_of_it(loaded: tuple[Any, Any]) -> None:
    plain = run(loaded, SamplingParams(n=4, top_p=1.0, max_tokens=60, seed=3))
    texts = {one.record_id: [c.text for c in one.completions] for one in plain}
    stop = (texts["id-a"][0][20:22], texts["id-What?"][1][9:12])  # two and three characters, each over several tokens
    cut = run(loaded, SamplingParams(n=4, top_p=1.0, max_tokens=60, seed=3, stop=stop))
    stopped = 0
    for one in cut:
        for completion, text in zip(one.completions, texts[one.record_id], strict=True):
            ends = [text.find(mark) for mark in stop if mark in text]
            assert completion.text == text[: min(ends, default=len(text))]
            if ends:
                stopped += 1
                assert completion.finish_reason == "stop"
                assert len(completion.token_ids) == len(completion.logprobs)
    assert stopped >= 2
    alone = run(loaded, SamplingParams(n=4, top_p=1.0, max_tokens=60, seed=3, stop=stop), batch_size=1)
    assert tokens(alone) == tokens(cut)


def test_a_stop_text_is_seen_where_characters_take_several_tokens(loaded: tuple[Any, Any]) -> None:
    tokenizer = loaded[1]

    def text_of(ids: list[int]) -> str:
        return tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)  # type: ignore[no-any-return]

    is_stop = stop_detector(text_of, ("é😀", "END"))
    assert is_stop is not None
    for text, ends in (("aé😀", True), ("ENÐEND", True), ("é 😀 EN D", False), ("x" * 50 + "END", True)):
        ids = tokenizer(text).input_ids
        seen = [length for length in range(1, len(ids) + 1) if is_stop(ids[:length])]
        assert seen == ([len(ids)] if ends else []), text
    assert stop_detector(text_of, ()) is None
    assert before_stop("a END b", ("b", "END")) == "a "
    with pytest.raises(ValueError, match="stop: got"):
        SamplingParams(stop=("",))


def test_think_tags_survive_even_where_the_tokenizer_calls_them_special(folder: Path, loaded: tuple[Any, Any]) -> None:
    model, _ = loaded
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<think>", "</think>"]})
    assert tokenizer.decode(tokenizer("<think>a</think>").input_ids, skip_special_tokens=True) == "a"
    results = run((model, tokenizer), SamplingParams(n=64, temperature=2.0, top_p=1.0, max_tokens=40), prompts(["a"]))
    tag = tokenizer.convert_tokens_to_ids("<think>")
    tagged = [c for c in results[0].completions if tag in c.token_ids]
    assert tagged
    assert all(c.text.count("<think>") == c.token_ids.count(tag) for c in tagged)


def test_a_think_tag_opened_by_the_template_stays_in_the_prompt(folder: Path, loaded: tuple[Any, Any]) -> None:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.chat_template = tokenizer.chat_template.replace("'<|assistant|>'", "'<|assistant|><think>'")
    ids = encode_prompt(tokenizer, [{"role": "user", "content": "a"}])
    assert tokenizer.decode(ids).endswith("<|assistant|><think>")


def test_a_tokenizer_without_template_says_what_is_used_instead(folder: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert template_note(tokenizer) is None
    tokenizer.chat_template = None
    assert "no chat template" in str(template_note(tokenizer))
    assert tokenizer.decode(encode_prompt(tokenizer, [{"role": "user", "content": "a"}])) == "a\n\n"


def test_a_prompt_longer_than_the_context_is_kept_and_marked(loaded: tuple[Any, Any]) -> None:
    results = run(loaded, SamplingParams(n=2, max_tokens=9), prompts(["a", "x" * 200, "b"]))
    assert [one.prompt_too_long for one in results] == [False, True, False]
    assert results[1].completions == [Completion(i, "", "length", [], []) for i in (0, 1)]
    assert all(c.token_ids for one in (results[0], results[2]) for c in one.completions)


def test_a_completion_stops_where_the_context_ends(loaded: tuple[Any, Any]) -> None:
    (result,) = run(loaded, SamplingParams(n=8, max_tokens=500, top_p=1.0), prompts(["x" * 110]))
    room = 128 - len(result.prompt_ids)
    assert all(len(c.token_ids) <= room for c in result.completions)
    assert any(len(c.token_ids) == room and c.finish_reason == "length" for c in result.completions)


def test_finished_records_are_told_of_before_their_turn(loaded: tuple[Any, Any]) -> None:
    told: list[str] = []
    results = run(loaded, SamplingParams(n=2, max_tokens=15), on_sampled=lambda one: told.append(one.record_id))
    assert sorted(told) == sorted(one.record_id for one in results)


def test_a_folder_that_holds_no_model_is_said_clearly(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"has no config\.json; expected a model folder"):
        load_model_and_tokenizer(tmp_path)
    with pytest.raises(UsageError, match="is no folder"):
        load_model_and_tokenizer(tmp_path / "nowhere")


def test_a_draw_follows_the_distribution() -> None:
    logits_RV = torch.tensor([0.5, 0.3, 0.2]).log().expand(30_000, 3)
    uniform_R = np.random.default_rng(0).random(30_000)
    token_R, logprob_R = sample(logits_RV, SamplingParams(top_p=1.0), uniform_R)
    shares = torch.bincount(token_R, minlength=3) / 30_000
    torch.testing.assert_close(shares, torch.tensor([0.5, 0.3, 0.2]), atol=0.01, rtol=0)
    torch.testing.assert_close(logprob_R, torch.tensor([0.5, 0.3, 0.2]).log()[token_R])


def test_top_p_keeps_the_smallest_set_that_holds_p() -> None:
    logits_RV = torch.tensor([0.5, 0.3, 0.2]).log().expand(1000, 3)
    uniform_R = np.linspace(0, 1, 1000, endpoint=False)
    for top_p, kept in ((0.49, {0}), (0.51, {0, 1}), (0.79, {0, 1}), (0.81, {0, 1, 2})):
        token_R, _ = sample(logits_RV, SamplingParams(top_p=top_p), uniform_R)
        assert set(token_R.tolist()) == kept


@pytest.mark.parametrize("wrong", [{"n": 0}, {"temperature": -1}, {"top_p": 0}, {"top_p": 1.5}, {"max_tokens": 0}])
def test_sampling_settings_out_of_range_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(wrong))}: got"):
        SamplingParams(**wrong)
