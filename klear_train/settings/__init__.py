"""What can be set for a training run: frozen models that refuse what they do not know.

The text under each field is its documentation.
"""

from klear_train.settings.common import (
    CheckpointSection,
    LoRASection,
    ModelSection,
    OptimSection,
    Section,
    TrackSection,
)
from klear_train.settings.rl import EvalSection, LossSection, RewardSection, RLConfig, RolloutSection
from klear_train.settings.sft import SFTConfig, ValidationSection

__all__ = [
    "CheckpointSection",
    "EvalSection",
    "LoRASection",
    "LossSection",
    "ModelSection",
    "OptimSection",
    "RLConfig",
    "RewardSection",
    "RolloutSection",
    "SFTConfig",
    "Section",
    "TrackSection",
    "ValidationSection",
]
