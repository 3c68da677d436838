"""Sources through the real ``datasets``: a Hub over HTTP (a small server of our own), its caches, nothing at all.

Each road runs in a process of its own, since the Hub's client reads its address and its folders when imported.
"""

import json
import os
import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hub_server import COMMIT, serve
from source_samples import SAMPLES, TACO_ROW

pytest.importorskip("datasets")

READ = """
import json, sys
from klear_data.errors import KlearError
from klear_data.sources.catalog import expand_names, source_rows
for name in sys.argv[1:]:
    try:
        for where, row in source_rows(expand_names(name)[0]):
            print(json.dumps([name, where, row]))
    except KlearError as error:
        print(json.dumps([name, error.exit_code, str(error)]))
"""
PREPARE = """
import datasets
datasets.load_dataset("AI-MO/NuminaMath-1.5", split="train", revision="1b05109f9e5c1ad06c0663519502416c30b300f8")
datasets.load_dataset("AI-MO/NuminaMath-CoT", split="train", revision="0" * 40)
from huggingface_hub import snapshot_download
snapshot_download("BAAI/TACO", repo_type="dataset")
"""
NUMINA = next(sample for sample in SAMPLES if sample.source == "NuminaMath-1.5")
COT = next(sample for sample in SAMPLES if sample.source == "NuminaMath-CoT")


def write_hub(folder):
    for hub_id, name, row in (
        ("AI-MO/NuminaMath-1.5", "data/train-00000-of-00001", NUMINA.row),
        ("AI-MO/NuminaMath-CoT", "data/train-00000-of-00001", COT.row),
        ("BAAI/TACO", "ALL/train-00000-of-00001", TACO_ROW),
        ("BAAI/TACO", "ALL/test-00000-of-00001", {**TACO_ROW, "question": "A problem of the test split."}),
    ):
        path = folder / hub_id / f"{name}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.Table.from_pylist([row, row]), path)
    # As BAAI/TACO is: a loading script, which datasets refuses to run.
    (folder / "BAAI/TACO/TACO.py").write_text("raise SystemExit('never run')\n")


def run(code, *args, home, **environment):
    env = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "KLEAR_"))}
    env |= {"HF_HOME": str(home), "HF_HUB_DISABLE_TELEMETRY": "1", "KLEAR_SOURCES": str(home / "none"), **environment}
    done = subprocess.run([sys.executable, "-c", code, *args], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("[")]


@pytest.fixture(scope="module")
def homes(tmp_path_factory):
    """What was streamed, and the cache folder that an earlier run of others has filled."""
    hub, empty, filled = (tmp_path_factory.mktemp(name) for name in ("hub", "empty", "filled"))
    write_hub(hub)
    with serve(hub) as url:
        streamed = run(READ, "NuminaMath-1.5", "TACO", "DeepScaleR", home=empty, HF_ENDPOINT=url)
        run(PREPARE, home=filled, HF_ENDPOINT=url)
        streamed += run(READ, "NuminaMath-CoT", home=empty, HF_ENDPOINT=url, HF_DATASETS_OFFLINE="1")
    return streamed, filled


def of(rows, name):
    return [tuple(rest) for found, *rest in rows if found == name]


def test_rows_are_streamed_from_the_hub_at_the_pinned_commit(homes):
    (first, row), (second, _) = of(homes[0], "NuminaMath-1.5")
    assert (first, second) == ("AI-MO/NuminaMath-1.5:1", "AI-MO/NuminaMath-1.5:2")
    assert {key: row[key] for key in NUMINA.row} == NUMINA.row
    assert row["revision"] == "1b05109f9e5c1ad06c0663519502416c30b300f8"
    assert (row["data_source"], row["split"], row["license"]) == ("NuminaMath-1.5", "train", "Apache-2.0")


def test_a_repository_with_a_loading_script_is_read_by_its_files_and_no_other_split(homes):
    rows = of(homes[0], "TACO")
    assert [row["question"] for _, row in rows] == [TACO_ROW["question"]] * 2
    assert rows[0][1]["revision"] == COMMIT


def test_a_data_set_that_the_hub_does_not_have_is_a_missing_capability(homes):
    ((code, message),) = of(homes[0], "DeepScaleR")
    assert code == 4
    assert "put deepscaler.json from https://huggingface.co/datasets/agentica-org/DeepScaleR" in message


def test_offline_mode_of_either_name_asks_no_hub_even_if_it_answers(homes):
    ((code, message),) = of(homes[0], "NuminaMath-CoT")
    assert code == 4
    assert "HF_DATASETS_OFFLINE is set" in message


def test_offline_both_caches_give_the_same_rows_as_the_hub(homes):
    streamed, filled = homes
    cached = run(READ, "NuminaMath-1.5", "TACO", home=filled, HF_HUB_OFFLINE="1")
    for name in ("NuminaMath-1.5", "TACO"):
        assert [row for _, row in of(cached, name)] == [row for _, row in of(streamed, name)]


def test_without_a_connection_the_caches_serve_too_but_never_another_commit_than_the_pinned(homes):
    rows = run(READ, "NuminaMath-1.5", "NuminaMath-CoT", home=homes[1], HF_ENDPOINT="http://127.0.0.1:9")
    assert len(of(rows, "NuminaMath-1.5")) == 2
    ((code, message),) = of(rows, "NuminaMath-CoT")
    assert code == 4
    assert "is out of reach" in message
    assert "into" in message
    assert "NuminaMath-CoT/" in message


def test_a_folder_that_datasets_saved_is_a_mirror(tmp_path):
    save = "import datasets, json, sys; datasets.Dataset.from_list(json.loads(sys.argv[2])).save_to_disk(sys.argv[1])"
    run(save, str(tmp_path / "mirror/NuminaMath-1.5"), json.dumps([NUMINA.row]), home=tmp_path)
    rows = run(READ, "NuminaMath-1.5", home=tmp_path, KLEAR_SOURCES=str(tmp_path / "mirror"), HF_HUB_OFFLINE="1")
    ((where, row),) = of(rows, "NuminaMath-1.5")
    assert where.endswith(".arrow:1")
    assert {key: row[key] for key in NUMINA.row} == NUMINA.row
    assert "revision" not in row  # nobody knows which it is


def test_a_hub_cache_of_which_a_shard_is_missing_is_none(tmp_path):
    folder = tmp_path / "hub/datasets--AI-MO--NuminaMath-1.5/snapshots/1b05109f9e5c1ad06c0663519502416c30b300f8/data"
    folder.mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist([NUMINA.row]), folder / "train-00000-of-00003.parquet")
    ((_, code, message),) = run(READ, "NuminaMath-1.5", home=tmp_path, HF_HUB_OFFLINE="1")
    assert code == 4
    assert "out of reach" in message
