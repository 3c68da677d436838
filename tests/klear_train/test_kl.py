"""Each estimator's gradient, taken in expectation over a small vocabulary, against autograd of the divergence."""

from __future__ import annotations

import math

import pytest
import torch

from klear_train.kl import reference_kl_loss, reference_kl_penalty


def policies() -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    return torch.randn(8, dtype=torch.float64, requires_grad=True), torch.randn(8, dtype=torch.float64).log_softmax(-1)


def expected_gradient(estimator: str) -> torch.Tensor:
    """E_{v~π}[∇ loss(v)], over logits: every token once, weighed with its own probability."""
    logits_V, reference_V = policies()
    logprobs_V = logits_V.log_softmax(-1)
    one = torch.ones(1, 1)
    terms = [
        logprobs_V[v].exp().detach()
        * reference_kl_loss(logprobs_V[v].view(1, 1), reference_V[v].view(1, 1), one, estimator=estimator)[0]
        for v in range(8)
    ]
    return torch.autograd.grad(torch.stack(terms).sum(), logits_V)[0]


def test_k2_has_the_gradient_of_kl_from_policy_to_reference() -> None:
    logits_V, reference_V = policies()
    logprobs_V = logits_V.log_softmax(-1)
    (exact,) = torch.autograd.grad((logprobs_V.exp() * (logprobs_V - reference_V)).sum(), logits_V)
    torch.testing.assert_close(expected_gradient("k2"), exact)


def test_k3_has_the_gradient_of_kl_from_reference_to_policy() -> None:
    logits_V, reference_V = policies()
    (exact,) = torch.autograd.grad(-(reference_V.exp() * logits_V.log_softmax(-1)).sum(), logits_V)
    torch.testing.assert_close(expected_gradient("k3"), exact)


def test_values_are_the_estimators_token_means() -> None:
    logprobs_BT = torch.tensor([[-1.0, -2.0], [-0.5, math.nan]])
    reference_BT = torch.tensor([[-1.5, -1.0], [-0.5, math.nan]])
    mask_BT = torch.tensor([[1, 1], [1, 0]])
    x = [-0.5, 1.0, 0.0]
    k3 = sum(math.exp(one) - 1 - one for one in x)
    loss, metrics = reference_kl_loss(logprobs_BT, reference_BT, mask_BT, estimator="k2")
    assert float(loss) == pytest.approx(sum(one * one / 2 for one in x) / 3)
    assert metrics["reference_kl"] == pytest.approx(k3 / 3)
    loss, _ = reference_kl_loss(logprobs_BT, reference_BT, mask_BT, estimator="k3", num_tokens=10)
    assert float(loss) == pytest.approx(k3 / 10)
    torch.testing.assert_close(reference_kl_penalty(logprobs_BT, reference_BT, mask_BT), torch.tensor([-0.5, 0.0]))


@pytest.mark.parametrize("estimator", ["k2", "k3"])
@pytest.mark.parametrize("gap", [-2000.0, 2000.0, -math.inf])
def test_loss_and_gradient_stay_finite_at_any_gap(estimator, gap: float) -> None:
    now_BT = torch.tensor([[-1.0 + gap, -2.0, -math.inf]], requires_grad=True)
    loss, metrics = reference_kl_loss(
        now_BT, torch.tensor([[-1.0, -2.5, -math.inf]]), torch.ones(1, 3), estimator=estimator
    )
    loss.backward()
    assert math.isfinite(float(loss.detach()))
    assert math.isfinite(metrics["reference_kl"])
    assert torch.isfinite(now_BT.grad).all()


def test_masked_out_tokens_get_no_gradient_whatever_they_hold() -> None:
    now_BT = torch.tensor([[-1.0, math.nan]], requires_grad=True)
    reference_kl_loss(now_BT, torch.tensor([[-2.0, math.inf]]), torch.tensor([[1, 0]]))[0].backward()
    torch.testing.assert_close(now_BT.grad, torch.tensor([[1.0, 0.0]]))


def test_shapes_that_differ_are_refused() -> None:
    with pytest.raises(ValueError, match="shapes"):
        reference_kl_loss(torch.zeros(2, 3), torch.zeros(1, 3), torch.ones(2, 3))
