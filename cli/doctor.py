"""``klear doctor``: what this machine and this installation can do."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil

from cli.options import examples, say
from klear_data.errors import CapabilityError

EXAMPLES = examples("klear doctor", "klear doctor || echo 'programs of models must not run here'")

_OPTIONAL = {
    "torch": "train",
    "transformers": "train",
    "vllm": "vllm",
    "datasets": "hub",
    "ray": "ray",
}


def doctor() -> None:
    """Report every layer of isolation, the optional packages and the accelerator.

    Ends with exit code 4 where programs can't be isolated at all.
    """
    from sandbox.capabilities import probe, usable_level

    level = usable_level()
    say(f"klear {_version('klear-reasoner')}, Python {platform.python_version()}, {platform.platform()}")
    say(f"cores: {os.cpu_count()}")
    say(f"\nsandbox: {level}")
    for capability in probe():
        say(f"  {'yes' if capability.ok else 'NO ':<3}  {capability.name:<20} {capability.detail}")
    say(f"  {'yes' if shutil.which('g++') else 'NO ':<3}  {'g++':<20} compiles C++ solutions")
    say("\npackages")
    for package, extra in _OPTIONAL.items():
        version = _version(package)
        missing = f"pip install 'klear-reasoner[{extra}]'"
        say(f"  {'yes' if version else 'NO ':<3}  {package:<20} {version or missing}")
    say(f"\naccelerator: {_accelerator()}")
    if level == "none":
        raise CapabilityError(
            "sandbox: this machine can't isolate programs; expected user namespaces, or Landlock with seccomp; run on "
            "a newer kernel, or accept the risk with --allow-weak"
        )


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _accelerator() -> str:
    if _version("torch") is None:
        return "unknown without torch"
    import torch

    if not torch.cuda.is_available():
        return "none (CPU)"
    return ", ".join(torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count()))
