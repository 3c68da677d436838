"""Tokenised data on disk: built once from chat records, read as memory maps by every process of a run."""

from klear_train.tokens.build import Overlong, build_token_store
from klear_train.tokens.store import TokenStore, check_vocabulary, open_token_store

__all__ = ["Overlong", "TokenStore", "build_token_store", "check_vocabulary", "open_token_store"]
