"""One or two rows of each catalogued source, made up, in exactly the columns that the data set has.

``file`` is where a copy of the Hub's repository has such rows; ``read`` is what klear makes of the first row:
ability, gold (``None`` for tests), the completions it brings, and the model that wrote them.
"""

import json
from dataclasses import dataclass
from typing import Any

FENCED = "```python\nprint(int(input()) + 1)\n```"
TESTS = {"inputs": ["1\n", "2\n"], "outputs": ["2\n", "3\n"]}
PROBLEM = "Add one to the number that you read."


@dataclass(frozen=True)
class Sample:
    source: str
    file: str
    row: dict[str, Any]
    ability: str
    gold: str | None
    completions: tuple[str, ...] = ()
    model: str | None = None
    prompt: str | None = None


def _chat(question, answer, *, role="from", content="value", names=("human", "gpt")):
    return [{role: names[0], content: question}, {role: names[1], content: answer}]


def _verl(prompt, gold, **extra):
    return {
        "data_source": "train-math-numinamath1.5_olympiads",
        "prompt": [{"role": "user", "content": prompt}],
        "ability": "math",
        "reward_model": {"style": "rule", "ground_truth": gold},
        "extra_info": {"index": 7, **extra},
    }


_THOUGHT = "<think>\n2 + 3\n</think>\n\nIt is \\boxed{5}."
_TACO_ROW = {
    "question": PROBLEM,
    "solutions": json.dumps(["print(int(input()) + 1)"]),
    "starter_code": "",
    "input_output": json.dumps(TESTS),
    "difficulty": "EASY",
    "raw_tags": "['math']",
    "name": None,
    "source": "codeforces",
    "tags": "['Mathematics']",
    "skill_types": "[]",
    "url": "https://example.org/1",
    "Expected Auxiliary Space": None,
    "time_limit": "2.0 seconds",
    "date": "2020-01-01",
    "picture_num": "0",
    "memory_limit": "256.0 megabytes",
    "Expected Time Complexity": None,
}
_APPS_ROW = {
    "problem_id": 0,
    "question": PROBLEM,
    "solutions": json.dumps(["print(int(input()) + 1)"]),
    "input_output": json.dumps(TESTS),
    "difficulty": "interview",
    "url": "https://example.org/2",
    "starter_code": "",
}
_CODEFORCES_ROW = {
    "id": "1/A",
    "aliases": None,
    "contest_id": "1",
    "contest_name": "Round 1",
    "contest_type": "CF",
    "contest_start": 1266580800,
    "contest_start_year": 2010,
    "index": "A",
    "time_limit": 2.0,
    "memory_limit": 256.0,
    "title": "Add One",
    "description": PROBLEM,
    "input_format": "One integer.",
    "output_format": "The integer plus one.",
    "interaction_format": None,
    "note": "Small.",
    "examples": [{"input": "1", "output": "2"}],
    "editorial": None,
    "rating": 800,
    "tags": ["math"],
    "testset_size": 2,
    "official_tests": [{"input": "1\n", "output": "2\n"}, {"input": "2\n", "output": "3\n"}],
    "official_tests_complete": True,
    "input_mode": "stdio",
    "generated_checker": None,
    "executable": True,
    "generated_tests": 0,
}
_OCR_ROW = {
    "id": "q1",
    "input": PROBLEM,
    "output": f"<think>\nAdd.\n</think>\n\n{FENCED}",
    "source": "code_contests",
    "license": "mit",
    "dataset": "code_contests",
    "split": "train",
    "difficulty": "800",
    "solution": FENCED,
}
_STATEMENT = (
    f"{PROBLEM}\n\nInput\nOne integer.\n\nOutput\nThe integer plus one.\n\nNote\nSmall.\n\n"
    "Example input\n1\nExample output\n2"
)
_LIST_TESTS = [{"type": "stdin_stdout", "input": "1\n", "output": "2\n"}] * 2

SAMPLES = [
    Sample(
        "OpenThoughts3-math",
        "data/train-00000-of-00001",
        {
            "difficulty": None,
            "source": "ai2-adapt-dev/openmath-2-math",
            "domain": "math",
            "conversations": _chat("What is 2 + 3?", _THOUGHT),
        },
        *("math", "", (_THOUGHT,), "QwQ-32B", "What is 2 + 3?"),
    ),
    Sample(
        "CodeGolf",
        "data/train-00000-of-00001",
        {
            "difficulty": 7,
            "source": "stackexchange_codegolf",
            "domain": "code",
            "conversations": _chat(PROBLEM, FENCED),
        },
        *("code", "", (FENCED,), "QwQ-32B"),
    ),
    Sample(
        "OpenThoughts-114k",
        "metadata/train-00000-of-00001",
        {
            "problem": "What is 2 + 3?",
            "deepseek_reasoning": "2 + 3",
            "deepseek_solution": "It is \\boxed{5}.",
            "ground_truth_solution": "\\boxed{5}",
            "domain": "math",
            "source": "numina_math",
            "test_cases": None,
            "starter_code": None,
        },
        *("math", "5", (_THOUGHT,), "DeepSeek-R1"),
    ),
    Sample(
        "OpenThoughts-114k",
        "metadata/train-00000-of-00001",
        {
            "problem": PROBLEM,
            "deepseek_reasoning": "Add.",
            "deepseek_solution": FENCED,
            "ground_truth_solution": None,
            "domain": "code",
            "source": "taco",
            "test_cases": json.dumps(TESTS),
            "starter_code": None,
        },
        *("code", None, (f"<think>\nAdd.\n</think>\n\n{FENCED}",), "DeepSeek-R1"),
    ),
    Sample(
        "NuminaMath-1.5",
        "data/train-00000-of-00001",
        {
            "problem": "What is 2 + 3?",
            "solution": "Count on: \\boxed{5}.",
            "answer": "5",
            "problem_type": "Algebra",
            "question_type": "math-word-problem",
            "problem_is_valid": "Yes",
            "solution_is_valid": "Yes",
            "source": "olympiads",
            "synthetic": False,
        },
        *("math", "5", ("Count on: \\boxed{5}.",), "NuminaMath-1.5"),
    ),
    Sample(
        "NuminaMath-CoT",
        "data/train-00000-of-00001",
        {
            "source": "cn_k12",
            "problem": "What is 2 + 3?",
            "solution": "Count on: \\boxed{5}.",
            "messages": _chat(
                *("What is 2 + 3?", "Count on: \\boxed{5}."),
                role="role",
                content="content",
                names=("user", "assistant"),
            ),
        },
        *("math", "5", ("Count on: \\boxed{5}.",), "NuminaMath-CoT"),
    ),
    Sample(
        "AceReason-1.1-SFT-math",
        "data/train-00000-of-00001",
        {"category": "math", "source": "aceinstruct", "input": "What is 2 + 3?", "output": _THOUGHT},
        *("math", "", (_THOUGHT,), "DeepSeek-R1"),
    ),
    Sample(
        "AceReason-Math",
        "data/train-00000-of-00001",
        {"problem": "What is 2 + 3?", "answer": "5"},
        *("math", "5"),
    ),
    Sample(
        "Skywork-OR1-Math",
        "data/math-00000-of-00001",
        _verl("What is 2 + 3?", '["5"]', model_difficulty={"DeepSeek-R1-Distill-Qwen-7B": 3}),
        *("math", "5"),
    ),
    Sample(
        "Skywork-OR1-Code",
        "data/code-00000-of-00001",
        {**_verl(PROBLEM, json.dumps({**TESTS, "fn_name": None})), "ability": "code"},
        *("code", None),
    ),
    Sample(
        "DeepScaleR",
        "deepscaler",
        {"problem": "What is 2 + 3?", "answer": "5", "solution": "Count on: \\boxed{5}."},
        *("math", "5", ("Count on: \\boxed{5}.",), "DeepScaleR"),
    ),
    Sample(
        "DeepCoder",
        "primeintellect/train-00000-of-00001",
        {"problem": PROBLEM, "solutions": [FENCED], "tests": json.dumps(_LIST_TESTS)},
        *("code", None, (FENCED,), "DeepCoder"),
    ),
    Sample(
        "DeepCoder",
        "taco/train-00000-of-00001",
        {"problem": PROBLEM, "solutions": [FENCED], "tests": json.dumps(TESTS)},
        *("code", None, (FENCED,), "DeepCoder"),
    ),
    Sample(
        "OpenR1-Math",
        "data/train-00000-of-00001",
        {
            "problem": "What is 2 + 3?",
            "solution": "Count on: \\boxed{5}.",
            "answer": "5",
            "problem_type": "Algebra",
            "question_type": "math-word-problem",
            "source": "olympiads",
            "uuid": "u1",
            "is_reasoning_complete": [True, False],
            "generations": [_THOUGHT, "<think>\n2 + "],
            "correctness_math_verify": [True, False],
            "correctness_llama": None,
            "finish_reasons": None,
            "correctness_count": 1,
            "messages": _chat(
                "What is 2 + 3?", _THOUGHT, role="role", content="content", names=("user", "assistant")
            ),
        },
        *("math", "5", (_THOUGHT, "<think>\n2 + "), "DeepSeek-R1"),
    ),
    Sample(
        "OpenMath-2-Math",
        "data/train-00000-of-00001",
        {"messages": _chat("What is 2 + 3?", _THOUGHT, role="role", content="content", names=("user", "assistant"))},
        *("math", "", (_THOUGHT,), "Llama-3.1-405B-Instruct"),
    ),
    Sample("KlearReasoner-MathSub", "math_sub_train", {**_verl("What is 2 + 3?", "5"), "hash": "0"}, *("math", "5")),
    Sample(
        "KlearReasoner-CodeSub",
        "train_code_rllm_clean",
        {
            "hash": "0",
            "ability": "code",
            "data_source": "coder1_longcot",
            "prompt": [{"content": PROBLEM, "role": "user"}],
            "reward_model": {"ground_truth": json.dumps(TESTS), "style": "rule"},
        },
        *("code", None),
    ),
    Sample("OpenCodeReasoning", "split_0/train-0", _OCR_ROW, "code", "", (_OCR_ROW["output"],), "DeepSeek-R1"),
    Sample("TACO", "ALL/train-00000-of-00001", _TACO_ROW, *("code", None, (FENCED,), "TACO")),
    Sample("APPS", "train", _APPS_ROW, *("code", None, (FENCED,), "APPS")),
    Sample("Codeforces", "data/train-00000-of-00001", _CODEFORCES_ROW, "code", None, prompt=_STATEMENT),
]  # fmt: skip
TACO_ROW, APPS_ROW, OCR_ROW, CODEFORCES_ROW = _TACO_ROW, _APPS_ROW, _OCR_ROW, _CODEFORCES_ROW
