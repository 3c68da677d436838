"""The policy losses against an oracle written from the paper's case tables, in float64 and plain Python."""

from __future__ import annotations

import math

import pytest
import torch

from klear_train.losses import cispo_loss, clip_higher_loss, gppo_loss, gspo_loss, positive_nll_loss

LOW, HIGH = 0.2, 0.28
EDGES = [math.log1p(-LOW), math.log1p(HIGH)]


def gppo_factor(ratio: float, advantage: float, beta_low: float = 1.0, beta_high: float = 1.0) -> float:
    """Eq. 12 and 18: what multiplies −Ã·∇log π."""
    if ratio < 1 - LOW and advantage < 0:
        return beta_low * (1 - LOW)
    if ratio > 1 + HIGH and advantage > 0:
        return beta_high * (1 + HIGH)
    return ratio


def clip_higher_factor(ratio: float, advantage: float) -> float:
    """Eq. 8: δ where min(δÃ, clip(δ)Ã) is the first, else 0."""
    clipped = min(max(ratio, 1 - LOW), 1 + HIGH)
    return ratio if ratio * advantage <= clipped * advantage else 0.0


def cispo_factor(ratio: float, advantage: float) -> float:
    """Eq. 16."""
    return min(max(ratio, 1 - LOW), 1 + HIGH)


def clipped_value(ratio: float, advantage: float) -> float:
    """A token's term of Eq. 7 and 11."""
    clipped = min(max(ratio, 1 - LOW), 1 + HIGH)
    return -min(ratio * advantage, clipped * advantage)


def random_tokens(count: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Log-probabilities now and before and advantages in all quadrants, one token a response; edges included."""
    generator = torch.Generator().manual_seed(seed)
    old = -3 * torch.rand(count, 1, generator=generator, dtype=torch.float64) - 0.5
    log_ratio = 0.6 * torch.randn(count, 1, generator=generator, dtype=torch.float64)
    log_ratio[:40:2, 0] = torch.tensor(EDGES * 10, dtype=torch.float64) + 1e-9
    log_ratio[1:41:2, 0] = torch.tensor(EDGES * 10, dtype=torch.float64) - 1e-9
    advantages = torch.randn(count, generator=generator, dtype=torch.float64)
    advantages[40:50] = 0
    return (old + log_ratio).requires_grad_(), old, advantages


ORACLES = {
    "gppo": (gppo_loss, {}, gppo_factor),
    "ce_gppo": (gppo_loss, {"beta_low": 0.3, "beta_high": 0.7}, lambda r, a: gppo_factor(r, a, 0.3, 0.7)),
    "gppo_beta_0": (gppo_loss, {"beta_low": 0.0, "beta_high": 0.0}, clip_higher_factor),
    "clip_higher": (clip_higher_loss, {}, clip_higher_factor),
    "cispo": (cispo_loss, {}, cispo_factor),
}


@pytest.mark.parametrize("name", ORACLES)
def test_gradient_is_the_case_table_s_on_100_000_tokens(name: str) -> None:
    loss_of, options, factor = ORACLES[name]
    logprobs_BT, old_BT, advantages_B = random_tokens(100_000)
    loss, _ = loss_of(
        logprobs_BT, old_BT, advantages_B, torch.ones_like(old_BT), clip_low=LOW, clip_high=HIGH, **options
    )
    loss.backward()
    ratios = (logprobs_BT.detach() - old_BT).exp().flatten().tolist()
    expected = [-factor(r, a) * a / 100_000 for r, a in zip(ratios, advantages_B.tolist(), strict=True)]
    torch.testing.assert_close(
        logprobs_BT.grad.flatten(), torch.tensor(expected, dtype=torch.float64), rtol=1e-9, atol=1e-15
    )


@pytest.mark.parametrize("name", ["gppo", "ce_gppo", "clip_higher"])
def test_value_is_that_of_the_clipped_objective(name: str) -> None:
    loss_of, options, _ = ORACLES[name]
    logprobs_BT, old_BT, advantages_B = random_tokens(5_000, seed=1)
    loss, _ = loss_of(logprobs_BT, old_BT, advantages_B, torch.ones_like(old_BT), **options)
    ratios = (logprobs_BT.detach() - old_BT).exp().flatten().tolist()
    terms = [clipped_value(r, a) for r, a in zip(ratios, advantages_B.tolist(), strict=True)]
    assert float(loss.detach()) == pytest.approx(sum(terms) / len(terms), rel=1e-9)


def test_gppo_agrees_with_the_published_clamp_form_where_that_is_finite() -> None:
    logprobs_BT, old_BT, advantages_B = random_tokens(5_000, seed=2)
    mask_BT = torch.ones_like(old_BT)
    ours, _ = gppo_loss(logprobs_BT, old_BT, advantages_B, mask_BT)
    (gradient,) = torch.autograd.grad(ours, logprobs_BT)
    # Eq. 11 as printed: the clipped branch is bound/sg(δ)·δ.
    ratio_BT = (logprobs_BT - old_BT).exp()
    bound_BT = ratio_BT.detach().clamp(1 - LOW, 1 + HIGH)
    advantages_BT = advantages_B[:, None]
    published = -torch.minimum(ratio_BT * advantages_BT, bound_BT / ratio_BT.detach() * ratio_BT * advantages_BT)
    # Within the range both branches are equal and minimum() halves neither: they are the same tensor's values.
    outside_BT = (ratio_BT.detach() - bound_BT).abs() > 0
    (expected,) = torch.autograd.grad(published.mean(), logprobs_BT)
    torch.testing.assert_close(gradient[outside_BT], expected[outside_BT], rtol=1e-9, atol=1e-15)
    assert float(ours.detach()) == pytest.approx(float(published.mean().detach()), rel=1e-9)


@pytest.mark.parametrize("loss_of", [gppo_loss, clip_higher_loss, cispo_loss, gspo_loss])
@pytest.mark.parametrize("log_ratio", [-2000.0, -95.0, -20.0, 20.0, 89.0, 2000.0, -math.inf])
@pytest.mark.parametrize("advantage", [-1.0, 0.0, 1.0])
def test_loss_gradient_and_metrics_stay_finite_at_any_ratio(loss_of, log_ratio: float, advantage: float) -> None:
    old_BT = torch.tensor([[-1.0, -1.0]])
    now_BT = torch.tensor([[-1.0 + log_ratio, -1.1]], requires_grad=True)
    loss, metrics = loss_of(now_BT, old_BT, torch.tensor([advantage]), torch.ones(1, 2))
    loss.backward()
    assert math.isfinite(float(loss.detach()))
    assert torch.isfinite(now_BT.grad).all()
    assert all(math.isfinite(value) for value in metrics.values()), metrics


@pytest.mark.parametrize("loss_of", [gppo_loss, clip_higher_loss, cispo_loss, gspo_loss])
def test_a_token_impossible_before_and_after_stays_finite(loss_of) -> None:
    minus_inf = torch.full((1, 2), -math.inf)
    now_BT = minus_inf.clone().requires_grad_()
    loss, _ = loss_of(now_BT, minus_inf, torch.tensor([1.0]), torch.ones(1, 2))
    loss.backward()
    assert math.isfinite(float(loss.detach()))
    assert torch.isfinite(now_BT.grad).all()


@pytest.mark.parametrize("loss_of", [gppo_loss, clip_higher_loss, cispo_loss, gspo_loss])
@pytest.mark.parametrize("garbage", [math.nan, math.inf, -math.inf, 1e30])
def test_masked_out_tokens_may_hold_anything(loss_of, garbage: float) -> None:
    old_BT = torch.tensor([[-1.0, -2.0, garbage], [-0.5, garbage, garbage]])
    mask_BT = torch.tensor([[1, 1, 0], [1, 0, 0]])
    advantages_B = torch.tensor([1.0, -1.0])
    values = torch.tensor([[-1.2, -1.5, garbage], [-0.9, garbage, garbage]])

    def loss_and_gradient(fill: float) -> tuple[torch.Tensor, torch.Tensor]:
        now_BT = torch.where(mask_BT.bool(), values, fill).requires_grad_()
        loss, _ = loss_of(now_BT, torch.where(mask_BT.bool(), old_BT, fill), advantages_B, mask_BT)
        loss.backward()
        return loss.detach(), now_BT.grad

    loss, gradient = loss_and_gradient(garbage)
    clean_loss, clean_gradient = loss_and_gradient(-1.0)
    torch.testing.assert_close(loss, clean_loss)
    torch.testing.assert_close(gradient, clean_gradient)
    assert (gradient[~mask_BT.bool()] == 0).all()


def test_ratio_cap_bounds_only_negative_advantages() -> None:
    old_BT = torch.full((2, 1), -9.0)
    now_BT = torch.full((2, 1), -4.0, requires_grad=True)  # ratio e^5
    loss, _ = gppo_loss(now_BT, old_BT, torch.tensor([-1.0, 1.0]), torch.ones(2, 1), ratio_cap=10.0, num_tokens=1)
    loss.backward()
    torch.testing.assert_close(now_BT.grad.flatten(), torch.tensor([10.0, -1.28]))


def test_without_a_cap_the_ratio_of_a_negative_advantage_is_kept() -> None:
    now_BT = torch.full((1, 1), -4.0, requires_grad=True)
    loss, _ = gppo_loss(now_BT, torch.full((1, 1), -9.0), torch.tensor([-1.0]), torch.ones(1, 1))
    loss.backward()
    assert float(now_BT.grad) == pytest.approx(math.exp(5), rel=1e-5)


@pytest.mark.parametrize("loss_of", [gppo_loss, clip_higher_loss, cispo_loss])
def test_micro_batches_add_up_to_the_whole_when_given_the_total_number_of_tokens(loss_of) -> None:
    torch.manual_seed(3)
    old_BT, now_BT, advantages_B = -torch.rand(6, 5), -torch.rand(6, 5), torch.randn(6)
    mask_BT = torch.arange(5) < torch.tensor([5, 1, 3, 2, 4, 5])[:, None]
    whole, _ = loss_of(now_BT, old_BT, advantages_B, mask_BT)
    parts = [
        loss_of(now_BT[s], old_BT[s], advantages_B[s], mask_BT[s], num_tokens=int(mask_BT.sum()))[0]
        for s in (slice(0, 1), slice(1, 4), slice(4, 6))
    ]
    torch.testing.assert_close(sum(parts), whole)


def test_clip_fractions_and_gradient_share_are_those_counted_by_hand() -> None:
    ratios = torch.tensor([[0.5, 1.0, 2.0, 1.0], [0.5, 1.0, 2.0, 1.0]])
    old_BT = torch.full_like(ratios, -5.0)
    _, metrics = gppo_loss(old_BT + ratios.log(), old_BT, torch.tensor([1.0, -1.0]), torch.ones_like(ratios))
    assert metrics["clip_high_positive"] == metrics["clip_low_negative"] == 1 / 8
    assert metrics["below_positive"] == metrics["above_negative"] == 1 / 8
    assert metrics["ratio_mean"] == pytest.approx(1.125)
    assert metrics["ratio_max"] == pytest.approx(2.0)
    outside = 0.5 + 1.28 + 0.8 + 2.0
    assert metrics["outside_gradient_share"] == pytest.approx(outside / (outside + 4), rel=1e-6)


def test_gspo_uses_the_geometric_mean_ratio_of_a_response() -> None:
    old_BT = torch.tensor([[-1.0, -1.0, 0.0], [-1.0, -1.0, -1.0]], dtype=torch.float64)
    now_BT = torch.tensor([[-0.9, -1.2, 0.0], [-1.0, -1.3, -1.3]], dtype=torch.float64, requires_grad=True)
    mask_BT = torch.tensor([[1, 1, 0], [1, 1, 1]])
    loss, _ = gspo_loss(
        now_BT, old_BT, torch.tensor([1.0, 1.0], dtype=torch.float64), mask_BT, clip_low=0.5, clip_high=0.5
    )
    s = [math.exp(-0.05), math.exp(-0.2)]
    assert float(loss.detach()) == pytest.approx(-(s[0] + s[1]) / 2, rel=1e-9)
    loss.backward()
    expected = torch.tensor([[-s[0] / 4, -s[0] / 4, 0], [-s[1] / 6] * 3], dtype=torch.float64)
    torch.testing.assert_close(now_BT.grad, expected)


def test_positive_nll_is_the_token_mean_over_correct_responses_only() -> None:
    logprobs_BT = torch.tensor([[-1.0, -2.0], [-7.0, math.nan], [-3.0, math.nan]], requires_grad=True)
    mask_BT = torch.tensor([[1, 1], [1, 0], [1, 0]])
    loss, metrics = positive_nll_loss(logprobs_BT, torch.tensor([True, False, True]), mask_BT)
    loss.backward()
    assert float(loss.detach()) == pytest.approx(2.0)
    torch.testing.assert_close(logprobs_BT.grad, torch.tensor([[-1 / 3, -1 / 3], [0, 0], [-1 / 3, 0]]))
    assert metrics["positive_tokens"] == 3


def test_positive_nll_of_no_correct_response_is_zero() -> None:
    logprobs_BT = torch.tensor([[-1.0]], requires_grad=True)
    loss, _ = positive_nll_loss(logprobs_BT, torch.tensor([False]), torch.ones(1, 1))
    loss.backward()
    assert float(loss.detach()) == 0.0
    assert float(logprobs_BT.grad) == 0.0


def test_a_clip_range_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="clip range"):
        gppo_loss(torch.zeros(1, 1), torch.zeros(1, 1), torch.ones(1), torch.ones(1, 1), clip_low=1.0)
