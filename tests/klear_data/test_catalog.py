"""The catalogue: what `top` means, and a source that is read from a mirror folder."""

import json
import subprocess
import sys

import pytest

from klear_data.errors import CapabilityError, UsageError
from klear_data.sources.catalog import expand_names, load_catalog, source_rows


def names(spec):
    return [source.name for source in expand_names(spec)]


def test_ranks_are_whole_within_each_ability():
    for ability in ("math", "code"):
        ranks = [source.rank for source in load_catalog() if source.ability == ability]
        assert ranks == list(range(1, len(ranks) + 1))
    assert all(source.rank_from and source.license and source.hub_id.count("/") == 1 for source in load_catalog())


def test_top_is_an_explicit_list_by_rank():
    assert names("top") == ["OpenThoughts3", "OpenThoughts-114k", "OpenCodeReasoning"]
    assert names("top:1") == ["OpenThoughts3", "OpenThoughts-114k"]
    assert names("numinamath-1.5") == ["NuminaMath-1.5"]
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
        "data_source": "OpenCodeReasoning", "ability": "code", "problem": "Sort.", "response": "sorted(x)", "id": "7"
    }  # fmt: skip


def test_a_mixed_source_leaves_the_ability_to_its_rows(tmp_path, monkeypatch):
    mirror(tmp_path, monkeypatch, "AceReason-1.1-SFT", [{"input": "x", "output": "y", "category": "code"}])
    ((_, row),) = source_rows(expand_names("AceReason-1.1-SFT")[0])
    assert "ability" not in row


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
