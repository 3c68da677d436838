"""Evaluation: what a model scores on a benchmark, and how sure that is.

From judged records (``klear reward-math``, ``klear reward-code``) to figures. Nothing here decides whether an answer
is right: verdicts come from the stages that reward training, so a score and a reward can't disagree.

- :mod:`problems`: benchmarks as records with their prompt template.
- :mod:`question`: one judged record as counts.
- :mod:`figures`: avg@n, pass@k, maj@n with their intervals, and the rates of what went wrong.
- :mod:`compare`: two models on the same questions.
- :mod:`context`: longer contexts by YaRN.
"""
