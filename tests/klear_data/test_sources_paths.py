"""Which files --sources means."""

import os

import pytest

from klear_data.errors import UsageError
from klear_data.sources import expand_sources, source_name
from klear_data.sources.catalog import expand_names


@pytest.fixture
def folder(tmp_path):
    for name in (
        "b/two.jsonl",
        "a.json",
        "b/one.jsonl.zst",
        "b/notes.md",
        ".cache/x.jsonl",
        "b/.hidden.jsonl",
        "c.parquet",
    ):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("")
    return tmp_path


def names(paths, folder):
    return [os.path.relpath(path, folder) for path in paths]


def test_a_folder_is_every_data_file_below_it_in_sorted_order(folder):
    assert names(expand_sources([str(folder)]), folder) == ["a.json", "b/one.jsonl.zst", "b/two.jsonl", "c.parquet"]


def test_a_pattern_is_every_match_in_sorted_order(folder):
    assert names(expand_sources([f"{folder}/**/*.jsonl*"]), folder) == ["b/one.jsonl.zst", "b/two.jsonl"]


def test_files_and_stdin_keep_their_order_and_come_once(folder):
    second, first = f"{folder}/b/two.jsonl", f"{folder}/a.json"
    assert expand_sources([second, "-", first, second]) == [second, "-", first]


def test_a_file_whose_name_looks_like_a_pattern_is_itself(tmp_path):
    path = tmp_path / "a[1].jsonl"
    path.write_text("")
    assert expand_sources([str(path)]) == [str(path)]


@pytest.mark.parametrize("spec", ["nothing.jsonl", "*.nothing", "b/empty"])
def test_sources_that_mean_no_file_are_an_error(folder, spec):
    (folder / "b/empty").mkdir()
    with pytest.raises(UsageError, match="expected files named"):
        expand_sources([str(folder / spec)])


def test_no_source_at_all_is_an_error():
    with pytest.raises(UsageError, match="name at least one"):
        expand_sources([])


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("x/gsm8k_train.jsonl.gz", "gsm8k_train"),
        ("hub/NuminaMath-1.5/data/train-00000-of-00005.parquet", "NuminaMath-1.5"),
        ("apps/test.jsonl", "apps"),
        ("train.jsonl", "train"),
        ("../train.jsonl", "train"),
        ("aime24.jsonl", "aime24"),
        ("<stdin>", "stdin"),
        ("", "unnamed"),
    ],
)
def test_a_data_set_is_called_after_its_file_or_folder(path, name):
    assert source_name(path) == name


def test_a_named_pipe_is_a_source(tmp_path):
    os.mkfifo(tmp_path / "63")  # what <(…) of a shell is
    assert expand_sources([str(tmp_path / "63")]) == [str(tmp_path / "63")]


@pytest.mark.parametrize("name", ["-", "folder", "shard*", "gsm8k.jsonl", "deep/er"])
def test_what_is_a_path_is_not_looked_up_in_the_catalogue(tmp_path, monkeypatch, name):
    (tmp_path / "folder").mkdir()
    monkeypatch.chdir(tmp_path)
    assert expand_names(name) is None


def test_a_name_that_is_neither_a_path_nor_catalogued_is_an_error():
    with pytest.raises(UsageError, match="no such file and no catalogued source"):
        expand_names("nothing_of_the_kind")
