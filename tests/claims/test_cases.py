"""What a case refuses before anything is measured, and which network it asks for."""

from dataclasses import replace
from typing import Any

import pytest

from ntkbench.claims import all_claims
from tests.claims.tiny import CONSTANCY, CONVERGENCE, DEPTH, GAP, HIERARCHY, case_of

TRAINING = (CONSTANCY, HIERARCHY)


@pytest.mark.parametrize(
    ("claim_id", "fields", "message"),
    [
        (CONVERGENCE, {"widths": (8,)}, r"widths must be two or more and increase, got \[8\]"),
        (CONVERGENCE, {"widths": (16, 16)}, r"widths must be two or more and increase, got \[16, 16\]"),
        (CONVERGENCE, {"seeds": 1}, "seeds must be at least 2"),
        (CONVERGENCE, {"train_size": 1}, "train_size must be at least 2"),
        (CONVERGENCE, {"seeds_per_width": -1}, "seeds_per_width must not be negative"),
        (CONVERGENCE, {"statistic": "bias"}, "depth 1 has no bias"),
        (CONVERGENCE, {"test_size": 4}, "test_size is 4, but the claim uses no test points"),
        (CONSTANCY, {"test_size": 4}, "test_size is 4, but the claim uses no test points"),
        (HIERARCHY, {"test_size": 4}, "test_size is 4, but the claim uses no test points"),
        (GAP, {"test_size": 0}, "test_size must be at least 1, got 0"),
        (CONSTANCY, {"dataset": "digits", "input_dim": 64}, "'digits' has 10 outputs.*choose one of.*digits_parity"),
        (HIERARCHY, {"dataset": "digits", "input_dim": 64}, "'digits' has 10 outputs.*choose one of.*digits_parity"),
        (GAP, {"dataset": "sphere"}, "'sphere' is synthetic.*choose one of digits"),
        (CONSTANCY, {"integrator": "euler"}, "integrator 'euler': the claim is about gradient flow, choose 'rk4' or 'dop853'"),
        (GAP, {"integrator": "rk4"}, "integrator 'rk4': the claim is about gradient descent, choose 'euler'"),
        (HIERARCHY, {"activation": "relu"}, "'relu' has no K3 and K4"),
        (HIERARCHY, {"times": (0.25,)}, "odd number of steps"),
        *((id_, {"times": (0.0, 1.0)}, "times must begin after 0") for id_ in TRAINING),
        *((id_, {"feature_strength": 2.0}, "only a mean_field control uses") for id_ in TRAINING),
        (GAP, {"feature_strength": 2.0, "control": "permuted_labels"}, "only a mean_field control uses"),
    ],
)
def test_a_case_that_makes_no_sense_is_refused(claim_id: str, fields: dict[str, Any], message: str) -> None:
    case_of(claim_id)
    with pytest.raises(ValueError, match=message):
        case_of(claim_id, **fields)


def test_kernels_alone_take_data_of_several_outputs() -> None:
    assert case_of(CONVERGENCE, dataset="digits", input_dim=64).dataset == "digits"


@pytest.mark.parametrize("claim_id", TRAINING)
def test_the_mean_field_control_changes_the_parametrization_and_no_other_case_does(claim_id: str) -> None:
    fields = {"depth": 2, "weight_variance": 1.5, "bias_variance": 0.1, "antisymmetric": True}
    regular = case_of(claim_id, **fields).network(16, output_dim=3)
    control = case_of(claim_id, control="mean_field", feature_strength=2.0, **fields).network(16, output_dim=3)
    assert (regular.parametrization, control.parametrization) == ("ntk", "mean_field")
    assert control.feature_strength == 2.0
    assert replace(control, parametrization="ntk", feature_strength=1.0) == regular
    assert (regular.width, regular.output_dim, regular.depth, regular.weight_variance) == (16, 3, 2, 1.5)


@pytest.mark.parametrize("claim_id", all_claims())
def test_a_control_resembles_a_regular_case_in_all_but_what_may_be_adjusted(claim_id: str) -> None:
    regular = case_of(claim_id)
    control = next(iter(all_claims()[claim_id].controls))
    assert case_of(claim_id, control=control, widths=(4, 8), seeds=3, antisymmetric=True).resembles(regular)
    deeper = {"depth": 2} | ({"depths": (2, 3, 4)} if claim_id == DEPTH else {})
    for fields in (deeper, {"activation": "softplus"}, {"train_size": 7}, {"weight_variance": 2.0}):
        assert not case_of(claim_id, control=control, **fields).resembles(regular), fields
    if claim_id in TRAINING:
        assert case_of(claim_id, control="mean_field", feature_strength=2.0).resembles(regular)
        assert not case_of(claim_id, control="mean_field", times=(1.0,)).resembles(regular)
