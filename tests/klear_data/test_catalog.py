"""The catalogue: what `top` means, and a source that is read from a mirror folder."""

import json
import re
import subprocess
import sys

import pytest

from klear_data.errors import CapabilityError, UsageError
from klear_data.sources.catalog import expand_names, load_catalog, source_rows, where_from


def names(spec):
    return [source.name for source in expand_names(spec)]


def test_ranks_are_whole_within_each_ability():
    for ability in ("math", "code"):
        ranks = [source.rank for source in load_catalog() if source.ability == ability]
        assert ranks == list(range(1, len(ranks) + 1))
    for source in load_catalog():
        assert source.rank_from
        assert source.license
        assert source.hub_id.count("/") == 1
        assert source.sure in ("measured", "named", "unverified")
        assert source.columns or source.name == "OpenMath-2-Math"  # its columns were not seen
        assert source.revision is None or re.fullmatch(r"[0-9a-f]{40}", source.revision)
        assert {*source.join} <= {entry.name for entry in load_catalog()}


def test_top_is_an_explicit_list_by_rank():
    assert names("top") == ["OpenThoughts3-math", "OpenThoughts3-code", "OpenCodeReasoning"]
    assert names("top:1") == ["OpenThoughts3-math", "OpenThoughts3-code"]
    assert names("numinamath-1.5") == ["NuminaMath-1.5"]
    assert names("openthoughts3") == ["OpenThoughts3-math", "OpenThoughts3-code"]
    assert expand_names("some/file.jsonl") is None


@pytest.mark.parametrize("spec", ["top:0", "top:-1", "top:many", "NuminaMath-1.6"])
def test_a_name_that_is_none_is_refused(spec):
    with pytest.raises(UsageError, match="expected"):
        expand_names(spec)


def mirror(tmp_path, monkeypatch, name, rows):
    folder = tmp_path / name / "data"
    folder.mkdir(parents=True)
    (folder / "train-00000.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    monkeypatch.setenv("KLEAR_SOURCES", str(tmp_path))


def test_a_mirror_folder_stands_in_for_the_hub(tmp_path, monkeypatch):
    mirror(tmp_path, monkeypatch, "OpenCodeReasoning", [{"input": "Sort.", "output": "sorted(x)", "id": "7"}])
    ((where, row),) = source_rows(expand_names("OpenCodeReasoning")[0])
    assert where.endswith("train-00000.jsonl:1")
    assert row == {
        "data_source": "OpenCodeReasoning", "ability": "code", "teacher": "DeepSeek-R1", "split": "split_0",
        "license": "CC-BY-4.0", "problem": "Sort.", "response": "sorted(x)", "id": "7",
    }  # fmt: skip


def test_a_mixed_source_leaves_the_ability_to_its_rows(tmp_path, monkeypatch):
    row = {"problem": "x", "deepseek_solution": "y", "domain": "code"}
    mirror(tmp_path, monkeypatch, "OpenThoughts-114k", [row])
    ((_, row),) = source_rows(expand_names("OpenThoughts-114k")[0])
    assert "ability" not in row


def test_a_file_of_the_sources_name_and_a_folder_of_its_hub_name_are_mirrors_too(tmp_path, monkeypatch):
    monkeypatch.setenv("KLEAR_SOURCES", str(tmp_path))
    (tmp_path / "AceReason-Math.jsonl").write_text('{"problem": "p", "answer": "1"}\n')
    assert len(list(source_rows(expand_names("AceReason-Math")[0]))) == 1
    (tmp_path / "nvidia/AceReason-Math").mkdir(parents=True)
    (tmp_path / "nvidia/AceReason-Math/train.json").write_text('[{"problem": "p", "answer": "1"}]')
    ((where, _),) = source_rows(expand_names("AceReason-Math")[0])
    assert where.endswith("nvidia/AceReason-Math/train.json:1")


def test_where_the_rows_come_from_tells_shards_and_parts_that_are_missing(tmp_path, monkeypatch):
    monkeypatch.setenv("KLEAR_SOURCES", str(tmp_path))
    (source,) = expand_names("OpenCodeReasoning")
    assert where_from(source) == "OpenCodeReasoning from the Hub (nvidia/OpenCodeReasoning)"
    folder = tmp_path / "OpenCodeReasoning" / "split_0"
    folder.mkdir(parents=True)
    (folder / "train-00001-of-00003.jsonl").write_text("{}")
    assert where_from(source) == (
        f"OpenCodeReasoning from 1 file in {tmp_path}/OpenCodeReasoning (none for split_1; split_0/train: 1 of 3 files)"
    )


def test_a_folder_without_data_says_what_it_wants(tmp_path, monkeypatch):
    monkeypatch.setenv("KLEAR_SOURCES", str(tmp_path))
    (tmp_path / "TACO").mkdir()
    (tmp_path / "TACO" / "README.md").write_text("nothing here")
    with pytest.raises(UsageError, match="no file to read; expected"):
        list(source_rows(expand_names("TACO")[0]))


def test_a_mirror_without_a_row_is_an_error(tmp_path, monkeypatch):
    mirror(tmp_path, monkeypatch, "OpenCodeReasoning", [])
    with pytest.raises(UsageError, match="an empty file; expected rows"):
        list(source_rows(expand_names("OpenCodeReasoning")[0]))
    for file in (tmp_path / "OpenCodeReasoning").rglob("*.jsonl"):
        file.write_text("\n")
    with pytest.raises(UsageError, match="no row of this source"):
        list(source_rows(expand_names("OpenCodeReasoning")[0]))


def test_a_column_that_went_missing_is_named(tmp_path, monkeypatch):
    mirror(tmp_path, monkeypatch, "OpenCodeReasoning", [{"prompt": "Sort.", "output": "sorted(x)"}])
    with pytest.raises(UsageError, match="no column 'input'"):
        list(source_rows(expand_names("OpenCodeReasoning")[0]))


def test_without_mirror_and_hub_the_error_says_which_files_to_put_where(tmp_path, monkeypatch):
    monkeypatch.setenv("KLEAR_SOURCES", str(tmp_path / "mirror"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(CapabilityError, match=r"klear-reasoner\[hub\]|mirror/DeepScaleR"):
        list(source_rows(expand_names("DeepScaleR")[0]))


def test_the_command_prints_every_source():
    run = [sys.executable, "-c", "from cli.main import main; main()", "sources"]
    out = subprocess.run(run, capture_output=True, text=True, check=True).stdout
    for source in load_catalog():
        assert source.hub_id in out


def test_at_most_so_many_rows_of_a_source_are_read_and_nothing_beyond(tmp_path, monkeypatch):
    rows = [{"problem": f"p{number}", "answer": "1"} for number in range(3)]
    mirror(tmp_path, monkeypatch, "AceReason-Math", rows)
    path = tmp_path / "AceReason-Math" / "data" / "train-00000.jsonl"
    path.write_text(path.read_text() + "not json\n")
    found = source_rows(expand_names("AceReason-Math")[0], at_most=3)
    assert [row["problem"] for _, row in found] == ["p0", "p1", "p2"]
