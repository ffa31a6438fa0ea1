"""The study of coverage, in miniature, and the simulated policies it plays."""

import numpy as np
import pytest

from docs.studies.coverage import Study, run
from docs.studies.simulated_policies import Scenario, draw_rates, play


def test_simulated_policies_succeed_as_often_as_expected() -> None:
    rng = np.random.default_rng(0)
    rates = np.array([0.1, 0.5, 0.9]), np.array([0.3, 0.5, 0.7])
    true, learned = play(*rates, rng.standard_normal(40_000), rng)
    np.testing.assert_allclose(true.mean(axis=1), rates[0], atol=0.01)
    np.testing.assert_allclose(learned.mean(axis=1), rates[1], atol=0.01)
    # Starts are hard for all policies in both worlds; half of the luck is theirs.
    assert np.corrcoef(true[1], true[2])[0, 1] > 0.15
    # Two binary results with a correlation of 0.5 + 0.25 of their normal luck: 2 asin(0.75) / pi.
    assert np.corrcoef(true[1], learned[1])[0, 1] == pytest.approx(2 * np.arcsin(0.75) / np.pi, abs=0.02)


def test_members_resemble_their_family() -> None:
    rng = np.random.default_rng(0)
    true, _ = draw_rates(Scenario(families=500, members=4, starts=1), 500, rng)
    assert true.reshape(500, 4).std(axis=1).mean() < 0.2 * true.std()


@pytest.mark.slow
def test_the_study_counts_all_intervals() -> None:
    (result,) = run(Study(evaluations=4), (Scenario(families=6, starts=10),))
    assert result["scenario"]["families"] == 6
    pearson = result["intervals"]["pearson"]
    assert set(pearson) == {"over_starts", "over_families", "over_both", "starts_percentile", "fisher_z"}
    for interval in pearson.values():
        assert interval["coverage"] + interval["below"] + interval["above"] == pytest.approx(1)
        assert interval["width"] > 0
