"""Raw rows of the field's data sets, each read into the one record."""

import base64
import doctest
import json
import pickle
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from klear_data.jsonl import parse_object, to_line
from klear_data.records import problem_of, rollouts_problem
from klear_data.sources import adapt, columns, golds, paths, testcases, to_record
from sandbox.formats import parse_tests

FENCED = "```python\nprint(1)\n```"


def record_of(raw, *, where="data/toy.jsonl:3", ability=None):
    record = to_record(raw, where, ability=ability)
    assert problem_of(record) is None
    assert "rollouts" not in record or rollouts_problem(record) is None
    return record


def gold_of(record):
    return record["reward_model"]["ground_truth"]


def completions(record):
    return [rollout["completion"] for rollout in record.get("rollouts", [])]


def content(record):
    return record["prompt"][-1]["content"]


def test_gsm8k_gold_loses_its_commas_and_the_worked_solution_its_calculator_marks():
    record = record_of({"question": "How much?", "answer": "It is 2*600=<<2*600=1200>>1200.\n#### 1,200", "idx": 7})
    assert gold_of(record) == "1200"
    assert completions(record) == ["It is 2*600=1200.\n\\boxed{1200}"]
    assert record["rollouts"][0] == {**record["rollouts"][0], "finish_reason": "stop", "num_tokens": None}
    assert record["sampling"] == {"model": "toy", "backend": "source", "n": 1}
    assert record["extra_info"] == {"answer": "It is 2*600=<<2*600=1200>>1200.\n#### 1,200", "idx": 7, "index": 2}


def test_a_gsm8k_answer_with_nothing_worked_out_brings_no_rollout():
    assert completions(record_of({"question": "q", "answer": "#### 5"})) == []


def test_math_rows_keep_their_answer_as_it_is_and_their_solution_as_a_rollout():
    record = record_of(
        {"problem": " Find $x$. ", "answer": "\\frac12", "solution": "So \\boxed{\\frac12}.", "level": 5}
    )
    assert (content(record), gold_of(record), record["ability"]) == (" Find $x$. ", "\\frac12", "math")
    assert completions(record) == ["So \\boxed{\\frac12}."]
    assert record["extra_info"] == {"level": 5, "index": 2}


@pytest.mark.parametrize("solution", ["\\boxed{103}", "103", "$103$"])
def test_a_solution_that_only_states_the_answer_is_no_rollout_and_is_kept(solution):
    record = record_of({"problem": "p", "solution": solution, "answer": "103"})
    assert completions(record) == []
    assert record["extra_info"]["solution"] == solution


def test_numina_rows_without_an_answer_column_take_the_last_box():
    record = record_of({"problem": "p", "solution": "First \\boxed{1}. Then we get \\boxed{\\sqrt{2}}."})
    assert gold_of(record) == "\\sqrt{2}"


def test_a_null_answer_is_an_empty_gold_and_no_bad_row():
    assert gold_of(record_of({"problem": "p", "answer": None})) == ""


@pytest.mark.parametrize(
    ("answer", "gold"), [(5, "5"), (2.5, "2.5"), (7.0, "7"), (["5"], "5"), (["1", "2"], '["1", "2"]')]
)
def test_answers_that_are_no_text_become_text(answer, gold):
    assert gold_of(record_of({"problem": "p", "answer": answer})) == gold


@pytest.mark.parametrize(
    ("answer", "gold"),
    [("((7)/(15))", "\\frac{7}{15}"), ("3((1)/(2))", "\\frac{7}{2}"), ("25%", "25%"), ("6.7", "6.7")],
)
def test_math23k_fractions_become_latex_and_mixed_numbers_one_fraction(answer, gold):
    record = record_of({"id": "1", "original_text": "一段布？", "ans": answer, "equation": "x=1"})
    assert gold_of(record) == gold
    assert record["extra_info"]["ans"] == answer


def test_leetcode_tests_become_json_and_solutions_fenced_programs():
    tests = {"functional": "def check(candidate):\n    assert candidate(1) == 1\n\ncheck(Solution().f)"}
    record = record_of({"problem": "p", "tests": tests, "solutions": "print(1)\n"})
    assert record["ability"] == "code"
    assert json.loads(gold_of(record)) == tests
    assert completions(record) == [FENCED]


@pytest.mark.parametrize("quote", [json.dumps, repr])
def test_tests_and_solutions_inside_strings_are_read_as_json_or_python(quote):
    tests = {"functional": "assert f(True) == None"}
    record = record_of({"problem": "p", "tests": quote(tests), "solutions": quote(["print(1)", FENCED])})
    assert json.loads(gold_of(record)) == tests
    assert completions(record) == [FENCED, FENCED]


def test_humaneval_gets_its_check_called_and_its_solution_made_whole():
    record = record_of(
        {
            "task_id": "HumanEval/0",
            "prompt": "def f(x):\n",
            "entry_point": "f",
            "canonical_solution": "    return x\n",
            "test": "def check(candidate):\n    assert candidate(1) == 1\n",
        }
    )
    script = json.loads(gold_of(record))["functional"]
    program = completions(record)[0].removeprefix("```python\n").removesuffix("\n```")
    exec(program + "\n" + script, {})
    assert script.rstrip().endswith("check(f)")
    assert record["extra_info"]["task_id"] == "HumanEval/0"


@pytest.mark.parametrize(
    "tests", [["assert f(1) == 1", "assert f(2) == 2"], "['assert f(1) == 1', 'assert f(2) == 2']"]
)
def test_mbpp_prompt_names_the_function_and_each_assert_is_a_test_with_its_imports(tests):
    record = record_of({"text": "Write f.", "code": "print(1)", "test_list": tests, "test_setup_code": "import math"})
    assert content(record) == "Write f.\nassert f(1) == 1"
    assert json.loads(gold_of(record))["functional"] == [
        "import math\nassert f(1) == 1",
        "import math\nassert f(2) == 2",
    ]
    assert completions(record) == [FENCED]


def test_mbpp_instruction_is_taken_where_the_row_has_one():
    row = {
        "prompt": "Write f.",
        "instruction": "Write f.\nassert f(1) == 1",
        "code": "c",
        "test_list": ["assert f(1) == 1"],
    }
    assert content(record_of(row)) == row["instruction"]


def test_lists_of_input_and_output_become_stdin_tests_with_their_limits():
    cases = [{"input": "1\n", "output": "2\n"}, {"input": "3\n", "output": "4\n"}]
    record = record_of({"problem": "p", "tests": cases, "time_limit": 2.0, "memory_limit": 256})
    assert json.loads(gold_of(record)) == {
        "inputs": ["1\n", "3\n"],
        "outputs": ["2\n", "4\n"],
        "time_limit": 2.0,
        "memory_limit": 256,
    }


def test_livecodebench_lists_keep_their_test_types():
    cases = [{"input": "[1]", "output": "1", "testtype": "functional", "metadata": {"func_name": "f"}}]
    assert json.loads(gold_of(record_of({"problem": "p", "tests": json.dumps(cases)}))) == cases


def test_livecodebench_rows_join_their_public_and_their_packed_private_tests():
    call = {"input": "[1]", "output": "1", "testtype": "functional"}
    packed = base64.b64encode(zlib.compress(pickle.dumps(json.dumps([{**call, "output": "2"}])))).decode()
    row = {
        "question_content": "Do it.",
        "starter_code": "class Solution:\n    def f(self, x):\n        ",
        "public_test_cases": json.dumps([call]),
        "private_test_cases": packed,
        "metadata": '{"func_name": "f"}',
    }
    record = record_of(row)
    tests = json.loads(gold_of(record))
    assert [test["output"] for test in tests] == ["1", "2"]
    assert tests[1]["metadata"] == {"func_name": "f"}
    assert "def f(self, x)" in content(record)
    assert len(parse_tests(gold_of(record))) == 2
    assert gold_of(record_of({**row, "private_test_cases": "@@"})) == "@@"  # never judged by the public tests alone


def test_primeintellect_function_calls_name_their_function_once():
    cases = [{"type": "function_call", "fn_name": "f", "input": [1], "output": [2]}]
    record = record_of({"prompt": "p", "verification_info": json.dumps({"language": "python", "test_cases": cases})})
    assert json.loads(gold_of(record)) == {"fn_name": "f", "inputs": [[1]], "outputs": [[2]]}


def test_apps_starter_code_is_part_of_the_problem_and_every_solution_a_rollout():
    tests = {"fn_name": "f", "inputs": [[1]], "outputs": [[1]]}
    row = {
        "question": "Do it.",
        "input_output": json.dumps(tests),
        "solutions": json.dumps(["a=1", "b=2"]),
        "starter_code": "def f(x):\n",
    }
    record = record_of(row)
    assert content(record) == "Do it.\n\n```python\ndef f(x):\n```"
    assert json.loads(gold_of(record)) == tests
    assert completions(record) == ["```python\na=1\n```", "```python\nb=2\n```"]


def test_an_apps_row_without_tests_is_code_with_an_empty_gold():
    record = record_of({"question": "q", "input_output": "", "solutions": "", "starter_code": ""})
    assert (record["ability"], gold_of(record)) == ("code", "")


def test_empty_code_columns_do_not_turn_a_math_row_into_code():
    record = record_of({"problem": "p", "answer": "5", "test_cases": None, "starter_code": None})
    assert (record["ability"], gold_of(record)) == ("math", "5")


def test_codeforces_statements_are_put_together_from_their_parts():
    row = {
        "description": "Add.",
        "input_format": "Two numbers.",
        "output_format": "Their sum.",
        "note": None,
        "examples": [{"input": "1 2", "output": "3"}],
        "official_tests": [{"input": "1 2", "output": "3"}],
    }
    record = record_of(row)
    assert (
        content(record) == "Add.\n\nInput\nTwo numbers.\n\nOutput\nTheir sum.\n\nExample input\n1 2\nExample output\n3"
    )
    assert json.loads(gold_of(record)) == {"inputs": ["1 2"], "outputs": ["3"]}


def test_tests_in_no_known_form_stay_as_they_are_for_a_filter():
    assert gold_of(record_of({"problem": "p", "tests": {"cases": 3}})) == '{"cases": 3}'


@pytest.mark.parametrize("quote", [lambda chat: chat, json.dumps, repr])
@pytest.mark.parametrize(
    ("role", "text", "user", "model"), [("role", "content", "user", "assistant"), ("from", "value", "human", "gpt")]
)
def test_chats_give_the_prompt_and_their_last_answer_a_rollout(role, text, user, model, quote):
    chat = [{role: "system", text: "Be brief."}, {role: user, text: "1+1?"}, {role: model, text: "It's 2"}]
    record = record_of({"conversations": quote(chat), "domain": "math", "source": "x"})
    assert record["prompt"] == [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "1+1?"}]
    assert completions(record) == ["It's 2"]
    assert record["extra_info"] == {"source": "x", "index": 2}


@pytest.mark.parametrize("meta", [{"answer": "73"}, {"solution": "73"}, "{'answer': '73'}"])
def test_the_answer_may_stand_in_meta(meta):
    record = record_of({"messages": [{"role": "user", "content": "q"}], "meta": meta})
    assert gold_of(record) == "73"
    assert record["extra_info"]["meta"] == meta


def test_a_chat_that_repeats_the_problem_gives_its_answer_and_is_not_kept_twice():
    chat = [{"role": "user", "content": "p"}, {"role": "assistant", "content": "So \\boxed{1}"}]
    record = record_of({"problem": "p", "answer": "1", "messages": chat})
    assert completions(record) == ["So \\boxed{1}"]
    assert "messages" not in record["extra_info"]


def test_verl_rows_keep_their_columns():
    row = {
        "data_source": "skywork",
        "prompt": [{"role": "user", "content": "p"}],
        "ability": "MATH",
        "reward_model": {"style": "rule", "ground_truth": '["5"]', "weight": 2},
        "extra_info": {"index": 90, "split": "train"},
        "agent": "x",
    }
    record = record_of(row)
    assert (record["data_source"], record["ability"]) == ("skywork", "math")
    assert record["reward_model"] == {"style": "rule", "ground_truth": "5", "weight": 2}
    assert record["extra_info"] == {"index": 90, "split": "train", "agent": "x", "ability": "MATH"}


def test_a_verl_row_without_ability_is_code_where_its_gold_is_tests():
    gold = json.dumps({"inputs": ["1"], "outputs": ["1"]})
    row = {"prompt": [{"role": "user", "content": "p"}], "reward_model": {"ground_truth": gold}}
    record = record_of(row)
    assert (record["ability"], gold_of(record)) == ("code", gold)


def test_a_reward_model_without_a_ground_truth_leaves_the_gold_to_the_columns():
    assert gold_of(record_of({"prompt": "p", "reward_model": {"style": "rule"}, "answer": "5"})) == "5"


def test_a_data_source_that_is_no_text_is_kept_and_the_file_gives_the_name():
    record = record_of({"problem": "p", "answer": "1", "data_source": 5})
    assert (record["data_source"], record["extra_info"]["data_source"]) == ("toy", 5)


@pytest.mark.parametrize("prompt", ["1+1?", [{"role": "user", "content": "1+1?"}]])
def test_the_minimal_input_of_the_contract_is_filled_in(prompt):
    record = record_of({"prompt": prompt, "ability": "math", "reward_model": {"ground_truth": "2"}})
    assert list(record) == ["schema", "id", "data_source", "ability", "prompt", "reward_model", "extra_info"]
    assert record["prompt"] == [{"role": "user", "content": "1+1?"}]


def test_klear_records_come_back_as_they_are():
    record = record_of({"problem": "p", "answer": "1", "response": "\\boxed{1}"})
    assert to_record(record, "elsewhere:9") is record


@pytest.mark.parametrize(
    ("column", "value", "expected"),
    [
        ("response", "r", ["r"]),
        ("responses", ["r", "s"], ["r", "s"]),
        ("generations", ["r", "", None, "r"], ["r"]),
        ("output", "[1, 2]", ["[1, 2]"]),
        ("response", '["r", "s"]', ["r", "s"]),
    ],
)
def test_responses_become_rollouts(column, value, expected):
    record = record_of({"problem": "p", "answer": "1", column: value, "model": "teacher"})
    assert completions(record) == expected
    assert record["sampling"]["model"] == "teacher"
    assert [rollout["index"] for rollout in record["rollouts"]] == list(range(len(expected)))


def test_responses_leave_the_worked_solution_in_extra_info():
    record = record_of({"problem": "p", "answer": "1", "solution": "Thus \\boxed{1}", "response": "r"})
    assert completions(record) == ["r"]
    assert record["extra_info"]["solution"] == "Thus \\boxed{1}"


def test_a_deepseek_answer_is_put_together_with_its_reasoning():
    row = {
        "problem": "p",
        "deepseek_reasoning": "hm",
        "deepseek_solution": "\\boxed{1}",
        "ground_truth_solution": "\\boxed{1}",
    }
    record = record_of({**row, "domain": "math", "test_cases": None})
    assert completions(record) == ["<think>\nhm\n</think>\n\n\\boxed{1}"]
    assert (record["sampling"]["model"], gold_of(record)) == ("deepseek-r1", "1")


def test_opencodereasoning_rows_are_code():
    record = record_of({"input": "p", "output": "<think>x</think>" + FENCED, "solution": FENCED, "source": "c"})
    assert (record["ability"], gold_of(record)) == ("code", "")


def test_an_instruction_keeps_its_input():
    assert content(record_of({"instruction": "Add.", "input": "1 2", "output": "3"}, ability="math")) == "Add.\n\n1 2"


def test_the_id_ignores_what_the_normaliser_ignores_and_nothing_else():
    ids = [
        to_record({"problem": text, "answer": "1"}, "f:1")["id"] for text in ("What  IS 1?", "what is 1?", "what is 2?")
    ]
    assert ids[0] == ids[1] != ids[2]


def test_a_column_that_would_overwrite_extra_info_is_kept_beside_it():
    record = record_of({"problem": "p", "answer": "1", "extra_info": {"index": 5}, "index": 6})
    assert record["extra_info"] == {"index": 5, "column_index": 6}


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        ({}, "no column holds a problem (columns: none); expected one of prompt, problem"),
        ({"promt": "p", "answer": "1"}, "columns: promt, answer"),
        ({"problem": "p"}, "neither an answer nor tests nor an ability"),
        ({"problem": 5, "answer": "1"}, "the problem is a int; expected text"),
        ({"prompt": {"role": "user"}, "answer": "1"}, "column 'prompt' is a dict"),
        ({"messages": [{"role": "user"}], "answer": "1"}, "'messages' is not a list of chat messages"),
        ({"messages": [{"role": "assistant", "content": "a"}]}, "holds no message of a user"),
        ({"prompt": "p", "reward_model": "5"}, "column 'reward_model' is a str"),
        ({"schema": "klear/1", "id": "x"}, "key 'ability'"),
    ],
)
def test_rows_that_fit_no_schema_say_what_was_expected(raw, words):
    with pytest.raises(ValueError, match="expected") as caught:
        to_record(raw, "f:1")
    assert words in str(caught.value)


def test_a_problem_alone_is_read_where_the_ability_is_given():
    assert record_of({"problem": "p"}, ability="code")["ability"] == "code"


COLUMNS = (
    *("prompt", "problem", "question", "messages", "conversations", "instruction", "input", "output", "text", "meta"),
    *("answer", "solution", "solutions", "ans", "original_text", "tests", "test", "test_list", "input_output"),
    *("entry_point", "canonical_solution", "starter_code", "reward_model", "extra_info", "ability", "data_source"),
    *("response", "generations", "deepseek_solution", "deepseek_reasoning", "examples", "input_format", "time_limit"),
    *("verification_info", "test_imports", "domain", "schema"),
)
CHAT = [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]
KEYS = ("role", "content", "answer", "input", "output", "ground_truth", "test_cases", "functional")
QUOTED = ("#### 5", "[1]", "{}", "['a']", '{"inputs": ["1"], "outputs": ["2"]}', "code", "klear/1", CHAT, repr(CHAT))
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5)
VALUES = st.recursive(
    SCALARS | st.sampled_from(QUOTED),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=2),
    max_leaves=4,
)


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(st.sampled_from(COLUMNS), VALUES, max_size=6))
def test_any_row_is_a_record_or_says_why_not(row):
    refusal = None
    try:
        record = to_record(row, "f:1")
    except ValueError as error:
        refusal = str(error)
    if refusal is not None:
        assert "expected" in refusal
        return
    if record["ability"] in ("math", "code"):  # others are a filter's business
        assert problem_of(record) is None
    assert "rollouts" not in record or rollouts_problem({**record, "ability": "math"}) is None
    assert parse_object(to_line(record))["id"] == record["id"]


@pytest.mark.parametrize("module", [adapt, columns, golds, paths, testcases])
def test_the_examples_in_the_docstrings_hold(module):
    assert doctest.testmod(module).failed == 0


@pytest.mark.parametrize("setup", [[1], [["import math"]], 7])
def test_a_setup_of_no_text_is_no_bug(setup):
    row = {"text": "add", "test_list": ["assert add(1, 1) == 2"], "test_setup_code": setup}
    assert to_record(row, "mbpp.jsonl:1")["ability"] == "code"


def test_text_that_holds_json_too_deep_to_write_stays_text():
    text = "[" * 500 + "]" * 500
    record = to_record({"question": "1 + 1?", "answer": "2", "extra_info": text}, "x.jsonl:1")
    assert record["extra_info"]["extra_info"] == text


def test_a_record_without_a_data_source_gets_its_files_name():
    record = to_record({"question": "1 + 1?", "answer": "2", "data_source": "a"}, "x.jsonl:1")
    del record["data_source"]
    assert to_record(record, "set.jsonl:1")["data_source"] == "set"
