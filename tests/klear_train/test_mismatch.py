from __future__ import annotations

import math

import pytest
import torch

from klear_train.mismatch import masked_importance_weights, mismatch_metrics, truncated_importance_weights

NOT_A_NUMBER = math.nan
TRAINER_BT = torch.tensor([[-1.0, -2.0, -0.5], [-3.0, -1.0, NOT_A_NUMBER]])
SAMPLER_BT = torch.tensor([[-1.1, -4.0, -0.5], [-1.5, -1.2, NOT_A_NUMBER]])
MASK_BT = torch.tensor([[1, 1, 1], [1, 1, 0]])
E = math.exp


def test_token_weights_are_ratios_up_to_the_cap_and_zero_on_padding() -> None:
    weights_BT = truncated_importance_weights(TRAINER_BT, SAMPLER_BT, MASK_BT, cap=2.0)
    torch.testing.assert_close(weights_BT, torch.tensor([[E(0.1), 2.0, 1.0], [E(-1.5), E(0.2), 0.0]]))


def test_a_sequence_s_weight_is_the_product_and_the_geometric_one_its_root() -> None:
    for level, power in (("sequence", (1, 1)), ("geometric", (3, 2))):
        weights_BT = truncated_importance_weights(TRAINER_BT, SAMPLER_BT, MASK_BT, cap=5.0, level=level)
        first, second = min(E(2.1 / power[0]), 5.0), E(-1.3 / power[1])
        torch.testing.assert_close(weights_BT, torch.tensor([[first] * 3, [second, second, 0.0]]))


def test_masking_drops_what_lies_outside_the_bounds_and_keeps_the_ratio_within() -> None:
    weights_BT = masked_importance_weights(TRAINER_BT, SAMPLER_BT, MASK_BT, low=0.5, high=5.0)
    torch.testing.assert_close(weights_BT, torch.tensor([[E(0.1), 0.0, 1.0], [0.0, E(0.2), 0.0]]))
    weights_BT = masked_importance_weights(TRAINER_BT, SAMPLER_BT, MASK_BT, low=0.0, high=8.0, level="sequence")
    torch.testing.assert_close(weights_BT, torch.tensor([[0.0] * 3, [E(-1.3), E(-1.3), 0.0]]))


def test_equal_log_probabilities_weigh_one_at_every_level() -> None:
    for level in ("token", "sequence", "geometric"):
        for weights in (truncated_importance_weights, masked_importance_weights):
            torch.testing.assert_close(weights(TRAINER_BT, TRAINER_BT, MASK_BT, level=level), MASK_BT.float())


def test_the_untruncated_token_weight_mends_the_expectation() -> None:
    torch.manual_seed(0)
    trainer_V, sampler_V = (torch.randn(30, dtype=torch.float64).log_softmax(-1) for _ in range(2))
    weights_V1 = truncated_importance_weights(
        trainer_V[:, None], sampler_V[:, None], torch.ones(30, 1), cap=math.exp(15)
    )
    torch.testing.assert_close(sampler_V.exp() * weights_V1[:, 0], trainer_V.exp())


@pytest.mark.parametrize("gap", [-2000.0, 2000.0, -math.inf])
@pytest.mark.parametrize("level", ["token", "sequence", "geometric"])
def test_weights_and_metrics_stay_finite_at_any_gap(gap: float, level) -> None:
    sampler_BT = torch.tensor([[-1.0, -2.0, -math.inf]])
    trainer_BT = torch.tensor([[-1.0 + gap, -2.0, -math.inf]])
    for weights in (truncated_importance_weights, masked_importance_weights):
        found_BT = weights(trainer_BT, sampler_BT, torch.ones(1, 3), level=level)
        assert torch.isfinite(found_BT).all()
        assert (found_BT <= 5).all()
    assert all(map(math.isfinite, mismatch_metrics(trainer_BT, sampler_BT, torch.ones(1, 3)).values()))


@pytest.mark.parametrize("level", ["token", "sequence", "geometric"])
def test_tokens_that_one_side_and_the_other_call_impossible_leave_a_number(level) -> None:
    sampler_BT, trainer_BT = torch.tensor([[-1.0, -math.inf]]), torch.tensor([[-math.inf, -1.0]])
    weights_BT = truncated_importance_weights(trainer_BT, sampler_BT, torch.ones(1, 2), level=level)
    torch.testing.assert_close(weights_BT, torch.tensor([[0.0, 2.0] if level == "token" else [1.0, 1.0]]))


def test_metrics_count_response_tokens_only() -> None:
    metrics = mismatch_metrics(TRAINER_BT, SAMPLER_BT, MASK_BT)
    gaps = [0.1, 2.0, 0.0, -1.5, 0.2]
    assert metrics["mismatch_mean"] == pytest.approx(sum(map(abs, gaps)) / 5, rel=1e-5)
    assert metrics["mismatch_max"] == pytest.approx(2.0)
    assert metrics["mismatch_kl"] == pytest.approx(sum(E(gap) - 1 - gap for gap in gaps) / 5, rel=1e-5)


def test_bounds_that_leave_out_one_and_shapes_that_differ_are_refused() -> None:
    with pytest.raises(ValueError, match="cap"):
        truncated_importance_weights(TRAINER_BT, SAMPLER_BT, MASK_BT, cap=0.5)
    with pytest.raises(ValueError, match="bounds"):
        masked_importance_weights(TRAINER_BT, SAMPLER_BT, MASK_BT, low=1.5)
    with pytest.raises(ValueError, match="shapes"):
        truncated_importance_weights(TRAINER_BT, SAMPLER_BT[:1], MASK_BT)
