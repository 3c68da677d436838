"""Workers do what the process itself would do, wherever it was started."""

from klear_data.curation import CurateOptions
from klear_data.curation.rows import row_batches
from klear_data.curation.workers import prepare_all


def test_workers_take_nothing_from_the_folder_where_klear_was_started(tmp_path, monkeypatch):
    for name in ("klear_data", "json"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise SystemExit('a stranger was imported')")
    monkeypatch.chdir(tmp_path)
    batches = list(row_batches([(f"a:{number}", {"problem": f"What is {number}?"}) for number in range(9)], size=3))
    prepared = [
        list(prepare_all(batches, CurateOptions(), detector=None, make_detector=None, jobs=jobs, alone_s=-1))
        for jobs in (1, 2)
    ]
    assert len(prepared[0]) == 3
    assert prepared[0] == prepared[1]
