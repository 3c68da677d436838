"""The model as the trainers see it: loading, attention that keeps packed sequences apart, a head in chunks."""

from klear_train.model.load import load_for_training, load_policy, tokenizer_of
from klear_train.model.policy import Policy, check_documents_stay_apart, hidden_states_TD, nll_sum, target_logprobs

__all__ = [
    "Policy",
    "check_documents_stay_apart",
    "hidden_states_TD",
    "load_for_training",
    "load_policy",
    "nll_sum",
    "target_logprobs",
    "tokenizer_of",
]
