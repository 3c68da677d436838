"""CPU time of `klear curate` on many short records, beside parsing them with orjson and beside other tools' rules.

    python benchmarks/short_records.py ../shared/data /tmp/short --records 1000000
    python benchmarks/bench_curate.py /tmp/short [--open-r1 CHECKOUT] [--datatrove PYTHON]

Rounds alternate between klear and the floor; CPU seconds include every child process. Peers run on the first
``--peer-records`` records only, each in a process of its own, start-up not counted.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from statistics import median

FLOOR = "import orjson, sys\nfor line in open(sys.argv[1], 'rb'): orjson.loads(line)"
VERBATIM = "edited=off,variant=off,code=off,paraphrase=off"
# The script itself, on local data in place of the Hub's: the items stand in for its five benchmarks, 800 each.
OPEN_R1 = """
import json, resource, runpy, sys
import datasets
script, records, items = sys.argv[1:4]
prompts = [json.loads(line)["prompt"][0]["content"] for line in open(records)]
items = [json.loads(line)["problem"] for line in open(items)]
parts = iter([items[start::5] for start in range(5)])
def load_dataset(path, *_, **__):
    if path == "train":
        return datasets.Dataset.from_dict({"problem": prompts})
    part = next(parts)
    return datasets.Dataset.from_dict({"problem": part, "Question": part, "question_content": part})
datasets.load_dataset = load_dataset
pushed = []
datasets.Dataset.push_to_hub = lambda self, *_, **__: pushed.append(len(self))
datasets.disable_progress_bars()
def cpu_s():
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)
began = cpu_s()
sys.argv = [script, "--dataset", "train", "--cleanup"]
runpy.run_path(script, run_name="__main__")
print()
print(json.dumps({"records": len(prompts), "found": len(prompts) - pushed[0], "cpu_s": cpu_s() - began}))
"""
# klear's rule alone: prompts in, verdicts out, batch by batch as `klear curate` does it, kernels loaded.
LOOK_UP = """
import json, sys, time
from cli.decontamination import benchmark_items, policy_of
from klear_data.contamination import Detector, DetectorOptions, Problem
from klear_data.curation.kernels import fold
records, items, on = sys.argv[1:4]
detector = Detector(benchmark_items([items]), DetectorOptions(policy=policy_of(on.split(","))))
records = [json.loads(line) for line in open(records)]
batches = [records[start : start + 1024] for start in range(0, len(records), 1024)]
def look_up(batch):
    data, ends = fold([record["prompt"][0]["content"] for record in batch])
    starts = [0, *ends.tolist()]
    asked = detector.candidates(data, ends)
    problems = [Problem(data[starts[at] : starts[at + 1]].decode(), batch[at]) for at in asked]
    return sum(verdict.action == "drop" for verdict in detector.lookup_many(problems))
look_up(batches[0])
began = time.process_time()
found = sum(map(look_up, batches))
print(json.dumps({"records": len(records), "found": found, "cpu_s": time.process_time() - began}))
"""
DATATROVE = """
import json, sys, time
from datatrove.data import Document
from datatrove.pipeline.decont.n_grams import NGramsDecontConfig, NGramsDecontFilter
from datatrove.utils.hashing import HashConfig
from datatrove.utils.text import ngrams, simplify_text
records, items = sys.argv[1:3]
block = NGramsDecontFilter("/tmp", config=NGramsDecontConfig(n_grams=9, hash_config=HashConfig(hash_fc="sha1")))
block._index_hashes = {}
for line in open(items):
    tokens = block.tokenizer.word_tokenize(simplify_text(json.loads(line)["problem"], block.config.norm_config))
    for gram in map(" ".join, ngrams(tokens, 9)):
        block._index_hashes[block.hash_func(gram)] = "items"
documents = [Document(json.loads(line)["prompt"][0]["content"], str(n)) for n, line in enumerate(open(records))]
began = time.process_time()
found = sum(block.filter(document) is not True for document in documents)
print(json.dumps({"records": len(documents), "found": found, "cpu_s": time.process_time() - began}))
"""


def cpu_of(command: list[str]) -> tuple[float, int]:
    """CPU seconds and peak KiB of a command with its children."""
    pid = os.spawnvp(os.P_NOWAIT, command[0], command)
    _, status, usage = os.wait4(pid, 0)
    if status:
        raise SystemExit(f"{command} ended with {status}")
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss


def peer(program: str, python: str, arguments: list[str]) -> dict[str, float]:
    run = subprocess.run([python, "-c", program, *arguments], capture_output=True, text=True, check=False)
    if run.returncode:
        return {"error": run.stderr[-300:]}  # type: ignore[dict-item]
    found: dict[str, float] = json.loads(run.stdout.splitlines()[-1])
    return {**found, "us_a_record": found["cpu_s"] / found["records"] * 1e6}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--filters", default="none")
    parser.add_argument("--open-r1", type=Path)
    parser.add_argument("--datatrove", metavar="PYTHON")
    parser.add_argument("--peer-records", type=int, default=20_000)
    arguments = parser.parse_args()
    records, items = arguments.folder / "records.jsonl", arguments.folder / "items.jsonl"
    count = json.loads((arguments.folder / "planted.json").read_text())["records"]
    out = arguments.folder / "curated.jsonl"
    klear = [str(Path(sys.executable).parent / "klear"), "curate", "-q", "--sources", str(records), "-o", str(out)]
    klear += ["--decontaminate", str(items), "--no-check-gold", "--on", VERBATIM, "--filters", arguments.filters]
    rounds = [(cpu_of([sys.executable, "-c", FLOOR, str(records)])[0], *cpu_of(klear)) for _ in range(arguments.rounds)]
    floor_s, klear_s = (median(column) for column in list(zip(*rounds, strict=True))[:2])
    result = {
        "what": f"klear curate, exact dedup and 9-grams, filters {arguments.filters}",
        "records": count,
        "rounds": arguments.rounds,
        "orjson_us_a_record": round(floor_s / count * 1e6, 2),
        "klear_us_a_record": round(klear_s / count * 1e6, 2),
        "times_the_floor": round(median(klear / floor for floor, klear, _ in rounds), 2),
        "peak_mib": max(peak for *_, peak in rounds) // 1024,
    }
    head = arguments.folder / "head.jsonl"
    with records.open("rb") as source, head.open("wb") as file:
        file.writelines(next(source) for _ in range(min(arguments.peer_records, count)))
    result["look_up"] = look_up = peer(LOOK_UP, sys.executable, [str(head), str(items), VERBATIM])
    if arguments.open_r1:
        script = str(arguments.open_r1 / "scripts/decontaminate.py")
        result["open_r1"] = peer(OPEN_R1, sys.executable, [script, str(head), str(items)])
    if arguments.datatrove:
        result["datatrove"] = peer(DATATROVE, arguments.datatrove, [str(head), str(items)])
    for name in ("open_r1", "datatrove"):
        if "us_a_record" in result.get(name, {}):
            theirs_us = result[name]["us_a_record"]
            result[f"whole_command_times_faster_than_{name}"] = round(theirs_us / klear_s * count / 1e6, 1)
            result[f"look_up_times_faster_than_{name}"] = round(theirs_us / look_up["us_a_record"], 1)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
