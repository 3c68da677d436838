"""The lines that stages exchange, as JSON Schema (draft 2020-12).

Every key a stage adds is optional here, since a record gains them one stage at a time; keys that are not listed
are allowed and pass through untouched.
"""

from __future__ import annotations

from typing import Any, get_args

from klear_data.records import ABILITIES, SCHEMA, SFT_SCHEMA
from klear_data.reward.scheme import Verdict

_DRAFT = "https://json-schema.org/draft/2020-12/schema"
_NULLABLE_NUMBER = {"type": ["number", "null"]}


def _object(properties: dict[str, Any], required: list[str]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": required}


_MESSAGES = {
    "type": "array",
    "minItems": 1,
    "items": _object({"role": {"type": "string"}, "content": {"type": "string"}}, ["role", "content"]),
}
_SAMPLING = _object(
    {
        "model": {"type": "string"},
        "backend": {"type": "string", "description": "transformers, vllm, openai; source for a data set's responses"},
        "n": {"type": "integer"},
        "temperature": {"type": "number"},
        "top_p": {"type": "number"},
        "max_tokens": {"type": "integer"},
        "seed": {"type": "integer"},
        "stop": {"type": "array", "items": {"type": "string"}},
        "system": {"type": "string", "description": "a system prompt before the record's messages"},
        "config": {"type": "object", "description": "changes to the model's config: a context stretched by YaRN"},
        "prompt_too_long": {"type": "boolean", "description": "no room in the context: the completions are empty"},
        "failed": {
            "type": "array",
            "description": "rollouts that could not be had; with the others they make n",
            "items": _object(
                {"index": {"type": "integer"}, "finish_reason": {"const": "error"}, "error": {"type": "string"}},
                ["index", "finish_reason", "error"],
            ),
        },
        "appended_to": {"type": ["object", "null"], "description": "how the earlier rollouts were sampled"},
    },
    [],
)
_VERDICT = {"enum": list(get_args(Verdict))}
_ROLLOUT = _object(
    {
        "index": {"type": "integer"},
        "completion": {"type": "string"},
        "finish_reason": {"type": ["string", "null"]},
        "num_tokens": {"type": ["integer", "null"]},
        "reward": {**_NULLABLE_NUMBER, "description": "null where the verifier failed: unscored, never a reward"},
        "verdict": _VERDICT,
        "passed": {"type": "integer", "description": "tests passed (code)"},
        "total": {"type": "integer", "description": "tests run (code)"},
        "answer": {"type": ["string", "null"], "description": "the answer found (math)"},
        "format_ok": {"type": "boolean"},
        "wall_s": {"type": "number"},
    },
    ["completion"],
)
_DIFFICULTY = _object(
    {
        "pass_rate": _NULLABLE_NUMBER,
        "pass_rate_ci95": {"type": ["array", "null"], "items": {"type": "number"}},
        "mean_reward": _NULLABLE_NUMBER,
        "scored": {"type": "integer"},
        "unscored": {"type": "integer"},
        "label": {"enum": ["easy", "hard", "unscored"]},
        "labeler": {"type": ["string", "null"]},
        "others": {"type": "array", "items": {"type": "object"}, "description": "earlier labelers, latest first"},
    },
    ["pass_rate", "scored", "unscored", "label"],
)

RECORD_SCHEMA: dict[str, Any] = {
    "$schema": _DRAFT,
    "title": "klear record",
    **_object(
        {
            "schema": {"const": SCHEMA},
            "id": {"type": "string", "pattern": "^[0-9a-f]{16}$"},
            "data_source": {"type": "string"},
            "ability": {"enum": list(ABILITIES)},
            "prompt": _MESSAGES,
            "reward_model": _object(
                {"style": {"type": "string"}, "ground_truth": {"type": "string"}}, ["ground_truth"]
            ),
            "extra_info": {"type": "object"},
            "curation": {"type": "object"},
            "evaluation": {"type": "object", "description": "klear eval: the benchmark, and the template"},
            "sampling": _SAMPLING,
            "rollouts": {"type": "array", "items": _ROLLOUT},
            "difficulty": _DIFFICULTY,
        },
        ["schema", "id", "ability", "prompt", "reward_model"],
    ),
}

SFT_RECORD_SCHEMA: dict[str, Any] = {
    "$schema": _DRAFT,
    "title": "klear SFT example",
    **_object(
        {
            "schema": {"const": SFT_SCHEMA},
            "id": {"type": "string"},
            "data_source": {"type": ["string", "null"]},
            "ability": {"enum": list(ABILITIES)},
            "messages": _MESSAGES,
            "verdict": _VERDICT,
            "reward": _NULLABLE_NUMBER,
            "difficulty": _DIFFICULTY,
        },
        ["schema", "id", "messages"],
    ),
}
