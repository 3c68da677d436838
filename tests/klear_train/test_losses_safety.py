"""The policy losses keep to what is asked of any loss: finite, blind to padding, linear, strict about shapes."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from klear_train.losses import cispo_loss, clip_higher_loss, gppo_loss, gspo_loss


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


@pytest.mark.parametrize("loss_of", [gppo_loss, clip_higher_loss, cispo_loss, gspo_loss])
def test_half_precision_log_probabilities_are_compared_in_single_precision(loss_of) -> None:
    torch.manual_seed(6)
    now_BT, old_BT = (-torch.rand(4, 9).bfloat16() for _ in range(2))
    arguments = torch.randn(4), torch.ones(4, 9)
    assert loss_of(now_BT, old_BT, *arguments)[0] == loss_of(now_BT.float(), old_BT.float(), *arguments)[0]


@pytest.mark.parametrize("loss_of", [gppo_loss, clip_higher_loss, cispo_loss, gspo_loss])
def test_shapes_that_would_broadcast_are_refused(loss_of) -> None:
    ones_BT = torch.ones(2, 3)
    for wrong in (
        (ones_BT, ones_BT[:1], ones_BT[:, 0], ones_BT),
        (ones_BT, ones_BT, ones_BT, ones_BT),
        (ones_BT, ones_BT, ones_BT[:, 0], ones_BT[:, :1]),
    ):
        with pytest.raises(ValueError, match="shapes"):
            loss_of(*wrong)


@pytest.mark.parametrize("loss_of", [gppo_loss, clip_higher_loss, cispo_loss, gspo_loss])
def test_a_token_that_is_no_number_is_not_hidden(loss_of) -> None:
    loss, _ = loss_of(torch.tensor([[math.nan, -1.0]]), torch.full((1, 2), -1.0), torch.ones(1), torch.ones(1, 2))
    assert math.isnan(float(loss))


def test_gspo_keeps_the_other_tokens_of_a_response_with_an_impossible_one() -> None:
    old_BT = torch.tensor([[-math.inf, -1.0, -1.0]])
    now_BT = torch.tensor([[-math.inf, -1.1, -1.0]], requires_grad=True)
    loss, _ = gspo_loss(now_BT, old_BT, torch.ones(1), torch.ones(1, 3), clip_low=0.5, clip_high=0.5)
    loss.backward()
    ratio = math.exp(-0.1 / 3)
    torch.testing.assert_close(now_BT.grad, torch.tensor([[0.0, -ratio / 3, -ratio / 3]]))


@pytest.mark.parametrize("options", [{"clip_low": 1.0}, {"clip_high": -0.1}, {"ratio_cap": 0.5}])
def test_a_clip_range_or_cap_that_is_none_is_refused(options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"clip range|ratio_cap"):
        gppo_loss(torch.zeros(1, 1), torch.zeros(1, 1), torch.ones(1), torch.ones(1, 1), **options)


token = st.tuples(st.floats(-9, -0.01), st.floats(-4, 4), st.booleans())
responses = st.lists(st.lists(token, min_size=1, max_size=5), min_size=1, max_size=4)


@settings(deadline=None, max_examples=50)
@given(responses, st.integers(0, 3), st.floats(0.1, 5))
def test_padding_changes_nothing_and_the_loss_is_linear_in_the_advantages(rows, padding: int, scale: float) -> None:
    def tensors(width: int) -> tuple[torch.Tensor, ...]:
        padded = [[*row, *[(math.nan, math.nan, False)] * (width - len(row))] for row in rows]
        old_BT, gap_BT, mask_BT = (torch.tensor([[t[i] for t in row] for row in padded]).double() for i in range(3))
        return old_BT + gap_BT, old_BT, mask_BT

    advantages_B = torch.tensor([(-1.0) ** at * (at + 1) for at in range(len(rows))]).double()
    longest = max(map(len, rows))
    for loss_of in (gppo_loss, clip_higher_loss, cispo_loss, gspo_loss):
        now_BT, old_BT, mask_BT = tensors(longest)
        loss, metrics = loss_of(now_BT, old_BT, advantages_B, mask_BT)
        wider_now_BT, wider_old_BT, wider_mask_BT = tensors(longest + padding)
        wider, wider_metrics = loss_of(wider_now_BT, wider_old_BT, advantages_B, wider_mask_BT)
        torch.testing.assert_close(wider, loss)
        assert wider_metrics == pytest.approx(metrics)
        scaled, _ = loss_of(now_BT, old_BT, scale * advantages_B, mask_BT)
        torch.testing.assert_close(scaled, scale * loss)


@settings(deadline=None, max_examples=50)
@given(responses)
def test_gppo_lies_between_clip_higher_and_cispo(rows) -> None:
    """|F| of a token: 0 or more under Clip-Higher, what GPPO adds is at most the bound, CISPO bounds all."""
    old_BT = torch.tensor([[t[0] for row in rows for t in row]]).double().T
    gap_BT = torch.tensor([[t[1] for row in rows for t in row]]).double().T
    for sign in (-1.0, 1.0):
        factors = []
        for loss_of in (clip_higher_loss, gppo_loss, cispo_loss):
            now_BT = (old_BT + gap_BT).requires_grad_()
            loss, _ = loss_of(now_BT, old_BT, torch.full((len(now_BT),), sign).double(), torch.ones_like(old_BT))
            factors.append(-torch.autograd.grad(loss, now_BT)[0] * len(now_BT) * sign)
        plain_BT, gppo_BT, cispo_BT = factors
        assert (gppo_BT >= plain_BT - 1e-12).all()
        torch.testing.assert_close(gppo_BT[plain_BT > 0], plain_BT[plain_BT > 0])
        clipped_BT = plain_BT == 0
        torch.testing.assert_close(gppo_BT[clipped_BT], cispo_BT[clipped_BT])
