"""Small benchmarks and prompts for these tests."""

from klear_data.contamination import CLASSES, Detector, DetectorOptions, Item, Problem
from klear_data.text import normalise


def items_of(*texts):
    return [Item("bench.jsonl", f"bench.jsonl:{line}", None, text) for line, text in enumerate(texts, 1)]


def problem(text, **columns):
    return Problem(normalise(text), {"prompt": [{"role": "user", "content": text}], **columns})


def only(name, action="drop"):
    """A policy that looks for one class."""
    return {**dict.fromkeys(CLASSES, "off"), name: action}


def ngram_rule(*texts, **options):
    """A detector with the n-gram rule alone."""
    return Detector(items_of(*texts), DetectorOptions(policy=only("verbatim"), **options))


def lookup(detector, text):
    return detector.lookup_many([problem(text)])[0]
