import math

import numpy as np
import pytest
from method_scores import ABSENT, INVENTED, MISSED, method, score
from scipy.stats import kendalltau

from medgan.evaluation.method_ranking import _kendall_tau, rank_methods


def ranking(methods, metrics=("dice",), organs=("heart",)):
    by_organ = {
        name: {organ: {s.case_id: s for s in scores if s.organ == organ} for organ in organs}
        for name, scores in methods.items()
    }
    cases = sorted({s.case_id for scores in methods.values() for s in scores})
    return rank_methods(by_organ, organs=organs, cases=cases, metrics=metrics)


def test_ranks_by_hand():
    found = ranking({"a": method([0.9, 0.9, 0.2]), "b": method([0.8, 0.9, 0.3]), "c": method([0.7, 0.1, 0.1])})
    # case ranks: 1 2 3; 1.5 1.5 3; 2 1 3
    assert [(m.method, m.rank, m.mean_rank) for m in found.methods] == [("a", 1, 1.5), ("b", 1, 1.5), ("c", 3, 3.0)]
    assert found.num_cases == 3


def test_ranks_are_averaged_over_metrics_and_organs():
    a = [score(organ="heart", dice=0.9, hd95_mm=9.0), score(organ="liver", dice=0.9)]
    b = [score(organ="heart", dice=0.8, hd95_mm=2.0), score(organ="liver", dice=0.8)]
    c = [score(organ="heart", dice=0.7, hd95_mm=3.0), score(organ="liver", dice=0.7)]
    found = ranking({"a": a, "b": b, "c": c}, ("dice", "hd95_mm"), ("heart", "liver"))
    # dice 1 2 3 twice; heart's hd95 3 1 2; liver's all alike: 2 2 2
    assert {m.method: m.mean_rank for m in found.methods} == {"a": 1.75, "b": 1.75, "c": 2.5}


def test_missing_and_missed_cases_rank_last_and_rightly_absent_ones_first():
    a = [score("c0"), score("c1", **ABSENT), score("c2", hd95_mm=400.0)]
    b = [score("c1", **INVENTED), score("c2", **MISSED)]
    c = [score("c0"), score("c1", **ABSENT), score("c2", hd95_mm=1.0)]
    found = ranking({"a": a, "b": b, "c": c}, ("hd95_mm",))
    # c0 1.5 3 1.5; c1 1.5 3 1.5; c2 2 3 1
    assert {m.method: m.mean_rank for m in found.methods} == {"c": 4 / 3, "a": 5 / 3, "b": 3.0}


def test_a_case_without_any_value_ranks_nobody():
    scores = {
        name: [score("c0", **ABSENT), score("c1", dice=dice)] for name, dice in (("a", 0.9), ("b", 0.8), ("c", 0.7))
    }
    assert [m.mean_rank for m in ranking(scores).methods] == [1.0, 2.0, 3.0]


def test_a_clear_ranking_is_stable():
    found = ranking({name: method([d] * 5) for name, d in (("low", 0.5), ("high", 0.9), ("mid", 0.7))})
    assert [(m.method, m.rank_shares) for m in found.methods] == [
        ("high", (1.0, 0.0, 0.0)),
        ("mid", (0.0, 1.0, 0.0)),
        ("low", (0.0, 0.0, 1.0)),
    ]
    assert (found.kendall_tau, found.kendall_tau_low) == (pytest.approx(1.0), pytest.approx(1.0))


def test_a_ranking_by_chance_is_not():
    found = ranking({"a": method([0.9, 0.1]), "b": method([0.1, 0.8]), "c": method([0.05, 0.05])})
    a = next(m for m in found.methods if m.method == "a")
    # both first cases: a alone first (1/4); one of each: shared first; both second cases: second (1/4)
    assert a.rank_shares == pytest.approx((0.75, 0.25, 0.0), abs=0.04)
    assert found.kendall_tau < 1
    assert sum(a.rank_shares) == 1.0


def test_one_case_says_nothing_of_stability():
    scores = {name: [score("c0", dice=dice)] for name, dice in (("a", 0.9), ("b", 0.8), ("c", 0.7))}
    for absent in ((), (score("c1", **ABSENT),)):  # a case that ranks nobody is no second one
        found = ranking({name: [*one, *absent] for name, one in scores.items()})
        assert [(m.method, m.rank) for m in found.methods] == [("a", 1), ("b", 2), ("c", 3)]
        assert np.isnan([found.kendall_tau, found.kendall_tau_low, *found.methods[0].rank_shares]).all()


def test_samples_without_a_case_that_ranks_count_for_nothing():
    dices = (("a", 0.9), ("b", 0.8), ("c", 0.7))
    scores = {name: [*(score(f"c{i}", **ABSENT) for i in range(3)), *method([d] * 5)[3:]] for name, d in dices}
    assert ranking(scores).methods[2].rank_shares == (0.0, 0.0, 1.0)


def test_methods_that_all_share_a_place_have_no_tau():
    found = ranking({name: method([0.5, 0.6]) for name in "abc"})
    assert [m.rank for m in found.methods] == [1, 1, 1]
    assert math.isnan(found.kendall_tau)


def test_kendalls_tau_is_scipys():
    rng = np.random.default_rng(0)
    full, rows = rng.integers(0, 4, 6) / 2, rng.integers(0, 4, (20, 6)) / 2
    assert _kendall_tau(full, rows) == pytest.approx([kendalltau(full, row).statistic for row in rows])
