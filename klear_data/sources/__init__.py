"""Raw problem files, each in the schema its authors chose, read as klear records.

Three roles are looked for in a row: the problem (:mod:`prompts`), what decides if an answer is right
(:mod:`golds` for math, :mod:`testcases` for code), and answers that somebody wrote (:mod:`responses`). Each
role knows the columns that the field's data sets use for it; every column that fills no role is kept in
``extra_info``.
"""

from klear_data.sources.adapt import to_record
from klear_data.sources.paths import expand_sources, source_name

__all__ = ["expand_sources", "source_name", "to_record"]
