"""The names that function-style solutions may use without importing them, as LeetCode offers them.

Standard-input programs get none of this: they are whole programs.
"""

from __future__ import annotations

import bisect
import collections
import copy
import datetime
import functools
import heapq
import itertools
import math
import operator
import random
import re
import string
import sys
import typing
from typing import Any

from sandbox.plain import Linked, Opaque, Tree


class ListNode:
    """LeetCode's linked list node."""

    def __init__(self, val: Any = 0, next: Any = None) -> None:
        self.val = val
        self.next = next


class TreeNode:
    """LeetCode's binary tree node."""

    def __init__(self, val: Any = 0, left: Any = None, right: Any = None) -> None:
        self.val = val
        self.left = left
        self.right = right


def list_node(values: Any) -> ListNode | None:
    """A linked list of the values, ``None`` for none."""
    head: ListNode | None = None
    for value in reversed(list(values)):
        head = ListNode(value, head)
    return head


def tree_node(values: Any) -> TreeNode | None:
    """A binary tree from its values level by level, ``None`` for a missing child."""
    rest = iter(list(values))
    first = next(rest, None)
    if first is None:
        return None
    root = TreeNode(first)
    waiting = collections.deque([root])
    while waiting:
        node = waiting.popleft()
        for side in ("left", "right"):
            value = next(rest, None)
            if value is not None:
                child = TreeNode(value)
                setattr(node, side, child)
                waiting.append(child)
    return root


def is_same_list(one: Any, other: Any) -> bool:
    """Whether two linked lists hold the same values."""
    while one is not None and other is not None:
        if one.val != other.val:
            return False
        one, other = one.next, other.next
    return one is None and other is None


def is_same_tree(one: Any, other: Any) -> bool:
    """Whether two binary trees have the same shape and values."""
    pairs = [(one, other)]
    while pairs:
        left, right = pairs.pop()
        if left is None or right is None:
            if left is not right:
                return False
        elif left.val != right.val:
            return False
        else:
            pairs += [(left.left, right.left), (left.right, right.right)]
    return True


def revive(value: Any, objects: dict[int, Any] | None = None) -> Any:
    """Turn the plain `Linked` and `Tree` (anywhere within a value) into nodes, and handles into ``objects``."""
    kind = type(value)
    if kind is Linked:
        return list_node(value.values)
    if kind is Tree:
        return tree_node(value.values)
    if kind is Opaque and objects is not None:
        return objects[value.handle]
    if kind is list or kind is tuple:
        return kind(revive(item, objects) for item in value)
    if kind is dict and objects:
        return {key: revive(item, objects) for key, item in value.items()}
    return value


def _names() -> dict[str, Any]:
    names: dict[str, Any] = {"inf": math.inf}
    for module in (typing, collections, itertools, functools, operator, math, heapq, bisect, string, re):
        for name in getattr(module, "__all__", None) or [n for n in vars(module) if not n.startswith("_")]:
            names[name] = getattr(module, name)
    names.update((name, getattr(random, name)) for name in ("randint", "randrange", "choice", "shuffle"))
    names["pow"] = pow  # math's and operator's versions would hide the three-argument built-in
    for module in (
        bisect,
        collections,
        copy,
        datetime,
        functools,
        heapq,
        itertools,
        math,
        operator,
        random,
        re,
        string,
    ):
        names[module.__name__] = module
    names |= {"sys": sys, "typing": typing, "deepcopy": copy.deepcopy}
    for helper in (ListNode, TreeNode, list_node, tree_node, is_same_list, is_same_tree):
        names[helper.__name__] = helper
    import builtins

    hidden = [name for name in names if hasattr(builtins, name)]
    return {name: value for name, value in names.items() if name not in hidden}


NAMES = _names()
