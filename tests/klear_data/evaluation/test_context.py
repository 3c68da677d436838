"""A budget beyond a model's positions: stretched by YaRN as the authors did, or refused."""

import json

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

from klear_data.errors import UsageError
from klear_data.evaluation.context import stretched, tokens_of
from klear_data.generate.transformers_backend import generate, load_model_and_tokenizer
from klear_data.generate.types import Prompt, SamplingParams
from klear_train.tiny import make_tiny_model


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return make_tiny_model(tmp_path_factory.mktemp("tiny") / "model", hidden_size=48, num_layers=2, max_length=256)


def qwen(folder, **config):
    """A config as Qwen3's; nothing else of the model is read."""
    folder.mkdir(exist_ok=True)
    plain = {"model_type": "qwen3", "max_position_embeddings": 32768, "rope_theta": 1000000, "rope_scaling": None}
    (folder / "config.json").write_text(json.dumps({**plain, **config}))
    return str(folder)


def test_a_budget_is_a_number_of_tokens():
    assert [tokens_of(one) for one in ("64k", "32K", "100")] == [65536, 32768, 100]
    for wrong in ("", "0", "64m", "-1", "1e5"):
        with pytest.raises(UsageError, match=f"--budget {wrong}: no number of tokens"):
            tokens_of(wrong)


def test_64k_is_reached_as_the_authors_did(tmp_path):
    assert stretched(qwen(tmp_path), 32768) is None
    changes = stretched(qwen(tmp_path), tokens_of("64k"))
    assert changes["max_position_embeddings"] == 81920  # the authors' max-model-len
    rope = changes["rope_parameters"]
    assert {key: rope[key] for key in ("rope_type", "factor", "original_max_position_embeddings")} == {
        "rope_type": "yarn", "factor": 2.5, "original_max_position_embeddings": 32768,
    }  # fmt: skip
    assert rope["rope_theta"] == 1000000
    chat_model = stretched(qwen(tmp_path, max_position_embeddings=40960), 65536)
    assert chat_model["rope_parameters"]["original_max_position_embeddings"] == 32768


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"max_position_embeddings": 16384}, r"has 16,384 positions and reaches 40,960 with YaRN's factor of 2\.5"),
        ({"rope_scaling": {"rope_type": "linear", "factor": 2.0}}, "is scaled by 'linear' already"),
        ({"model_type": "gpt2", "n_positions": 1024}, "no rotary embeddings"),
    ],
)
def test_a_model_whose_positions_can_not_do_it_is_refused(tmp_path, config, said):
    with pytest.raises(UsageError, match=said):
        stretched(qwen(tmp_path, **config), 65536)


def test_no_model_is_said(tmp_path):
    with pytest.raises(UsageError, match=r"has no config\.json"):
        stretched(str(tmp_path), 65536)


def test_the_stretched_model_reads_what_the_plain_one_can_not_and_turns_by_other_frequencies(model):
    changes = stretched(str(model), 512)
    long = [Prompt("a", [{"role": "user", "content": "x" * 300}])]
    params = SamplingParams(n=1, temperature=0.0, max_tokens=4)
    plain, tokenizer = load_model_and_tokenizer(model, dtype="float32", device="cpu")
    yarn, _ = load_model_and_tokenizer(model, dtype="float32", device="cpu", overrides=changes)
    assert next(generate(plain, tokenizer, long, params)).prompt_too_long
    assert not next(generate(yarn, tokenizer, long, params)).prompt_too_long
    assert yarn.model.rotary_emb.rope_type == "yarn"
    fast, slow = (yarn.model.rotary_emb.inv_freq / plain.model.rotary_emb.inv_freq)[[0, -1]].tolist()
    assert fast == pytest.approx(1.0)  # high frequencies stay,
    assert slow == pytest.approx(1 / 2.5, rel=1e-3)  # the lowest is stretched by the whole factor
