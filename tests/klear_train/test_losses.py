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


def random_tokens(
    count: int, seed: int = 0, *, gap: float = 1e-9, dtype: torch.dtype = torch.float64
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Log-probabilities now and before and advantages in all quadrants, one token a response.

    Half of the ratios lie about the range, half anywhere within e^±8; a thousand lie ``gap`` beside a bound, on
    either side of it and with either sign of the advantage; ten advantages are 0.
    """
    generator = torch.Generator().manual_seed(seed)
    old = -3 * torch.rand(count, 1, generator=generator, dtype=torch.float64) - 0.5
    log_ratio = 0.6 * torch.randn(count, 1, generator=generator, dtype=torch.float64)
    log_ratio[count // 2 :] = 16 * torch.rand(count - count // 2, 1, generator=generator, dtype=torch.float64) - 8
    edges = torch.tensor(EDGES * 250, dtype=torch.float64)
    log_ratio[:1000:2, 0], log_ratio[1:1000:2, 0] = edges + gap, edges - gap
    advantages = torch.randn(count, generator=generator, dtype=torch.float64)
    advantages[1000:1010] = 0
    return (old + log_ratio).to(dtype).requires_grad_(), old.to(dtype), advantages.to(dtype)


ORACLES = {
    "gppo": (gppo_loss, {}, gppo_factor),
    "ce_gppo": (gppo_loss, {"beta_low": 0.3, "beta_high": 0.7}, lambda r, a: gppo_factor(r, a, 0.3, 0.7)),
    "gppo_beta_0": (gppo_loss, {"beta_low": 0.0, "beta_high": 0.0}, clip_higher_factor),
    "clip_higher": (clip_higher_loss, {}, clip_higher_factor),
    "cispo": (cispo_loss, {}, cispo_factor),
}


@pytest.mark.parametrize("name", ORACLES)
@pytest.mark.parametrize(
    ("dtype", "gap", "tolerance"), [(torch.float64, 1e-9, 1e-12), (torch.float32, 1e-5, 1e-6)], ids=["f64", "f32"]
)
def test_gradient_is_the_case_table_s_on_100_000_tokens(name: str, dtype, gap: float, tolerance: float) -> None:
    loss_of, options, factor = ORACLES[name]
    logprobs_BT, old_BT, advantages_B = random_tokens(100_000, gap=gap, dtype=dtype)
    loss, _ = loss_of(
        logprobs_BT, old_BT, advantages_B, torch.ones_like(old_BT), clip_low=LOW, clip_high=HIGH, **options
    )
    loss.backward()
    ratios = (logprobs_BT.detach().double() - old_BT.double()).exp().flatten().tolist()
    expected = [-factor(r, a) * a / 100_000 for r, a in zip(ratios, advantages_B.tolist(), strict=True)]
    torch.testing.assert_close(
        logprobs_BT.grad.double().flatten(), torch.tensor(expected, dtype=torch.float64), rtol=tolerance, atol=0
    )


@pytest.mark.parametrize("name", ORACLES)
@pytest.mark.parametrize("advantage", [-1.0, 1.0])
def test_a_ratio_exactly_at_a_bound_is_within_the_range(name: str, advantage: float) -> None:
    loss_of, options, _ = ORACLES[name]
    now_BT = torch.tensor([EDGES], dtype=torch.float64, requires_grad=True)
    old_BT = torch.zeros_like(now_BT)
    advantages_B = torch.tensor([advantage], dtype=torch.float64)
    loss_of(now_BT, old_BT, advantages_B, torch.ones_like(old_BT), num_tokens=1, **options)[0].backward()
    expected = torch.tensor([[-advantage * (1 - LOW), -advantage * (1 + HIGH)]], dtype=torch.float64)
    torch.testing.assert_close(now_BT.grad, expected, rtol=1e-12, atol=0)


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
    # Within the range the branches tie, and minimum() takes half of each gradient: they are equal, too.
    (expected,) = torch.autograd.grad(published.mean(), logprobs_BT)
    torch.testing.assert_close(gradient, expected, rtol=1e-9, atol=1e-15)
    assert float(ours.detach()) == pytest.approx(float(published.mean().detach()), rel=1e-9)


def test_ratio_cap_bounds_only_negative_advantages() -> None:
    old_BT = torch.full((2, 1), -9.0)
    now_BT = torch.full((2, 1), -4.0, requires_grad=True)  # ratio e^5
    loss, _ = gppo_loss(now_BT, old_BT, torch.tensor([-1.0, 1.0]), torch.ones(2, 1), ratio_cap=10.0, num_tokens=1)
    loss.backward()
    torch.testing.assert_close(now_BT.grad.flatten(), torch.tensor([10.0, -1.28]))


def test_a_cap_below_the_range_s_end_leaves_positive_advantages_alone() -> None:
    now_BT = torch.full((2, 1), math.log(1.2), requires_grad=True)
    advantages_B = torch.tensor([-1.0, 1.0])
    gppo_loss(now_BT, torch.zeros(2, 1), advantages_B, torch.ones(2, 1), ratio_cap=1.1, num_tokens=1)[0].backward()
    torch.testing.assert_close(now_BT.grad.flatten(), torch.tensor([1.1, -1.2]))


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
    assert metrics["kl"] == pytest.approx(((0.5 - 1 - math.log(0.5)) + (2 - 1 - math.log(2))) / 4, rel=1e-5)
    outside = 0.5 + 1.28 + 0.8 + 2.0
    assert metrics["outside_gradient_share"] == pytest.approx(outside / (outside + 4), rel=1e-6)


@pytest.mark.parametrize("loss_of", [gppo_loss, clip_higher_loss, cispo_loss])
def test_weights_multiply_each_token_s_gradient_and_leave_the_cases_alone(loss_of) -> None:
    logprobs_BT, old_BT, advantages_B = random_tokens(4_000, seed=4)
    mask_BT = torch.ones_like(old_BT)
    weights_BT = torch.rand(4_000, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    weights_BT[::7] = 0
    plain, weighted = (
        torch.autograd.grad(loss_of(logprobs_BT, old_BT, advantages_B, mask_BT, **options)[0], logprobs_BT)[0]
        for options in ({}, {"weights_BT": weights_BT})
    )
    torch.testing.assert_close(weighted, plain * weights_BT)


def test_the_entropy_estimate_is_the_entropy_in_expectation_over_the_old_policy() -> None:
    torch.manual_seed(5)
    now_V, old_V = torch.randn(50, dtype=torch.float64).log_softmax(-1), torch.randn(50).double().log_softmax(-1)
    # A million draws from the old policy, as counts: token v stands in round(10^6 · μ(v)) responses.
    counts_V = (1e6 * old_V.exp()).round().long()
    drawn_N = torch.arange(50).repeat_interleave(counts_V)
    now_BT, old_BT = now_V[drawn_N, None], old_V[drawn_N, None]
    _, metrics = gppo_loss(now_BT, old_BT, torch.zeros(len(drawn_N)), torch.ones_like(now_BT))
    assert metrics["entropy"] == pytest.approx(float(-(now_V.exp() * now_V).sum()), rel=1e-4)
    assert metrics["kl"] == pytest.approx(float((old_V.exp() * (old_V - now_V)).sum()), rel=1e-4)


def gspo_by_autograd(now_BT, old_BT, advantages_B, mask_BT, low: float, high: float) -> torch.Tensor:
    """arXiv 2507.18071, Eq. 5 to 7 as printed, differentiated by autograd."""
    terms = []
    for now_T, old_T, advantage, mask_T in zip(now_BT, old_BT, advantages_B, mask_BT.bool(), strict=True):
        ratio = ((now_T - old_T)[mask_T].sum() / mask_T.sum()).exp()
        terms.append(torch.minimum(ratio * advantage, ratio.clamp(1 - low, 1 + high) * advantage))
    return -torch.stack(terms).mean()


def test_gspo_is_its_published_form_in_value_and_gradient() -> None:
    torch.manual_seed(7)
    old_BT = -2 * torch.rand(400, 6, dtype=torch.float64)
    now_BT = (old_BT + 0.3 * torch.randn(400, 6, dtype=torch.float64)).requires_grad_()
    mask_BT = torch.arange(6) < torch.randint(1, 7, (400, 1))
    advantages_B = torch.randn(400, dtype=torch.float64)
    ours, metrics = gspo_loss(now_BT, old_BT, advantages_B, mask_BT, clip_low=0.1, clip_high=0.15)
    published = gspo_by_autograd(now_BT, old_BT, advantages_B, mask_BT, 0.1, 0.15)
    torch.testing.assert_close(ours, published)
    gradients = [torch.autograd.grad(loss, now_BT)[0] for loss in (ours, published)]
    torch.testing.assert_close(*gradients)
    assert metrics["clip_low_negative"] > 0.05
    assert metrics["clip_high_positive"] > 0.05


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
