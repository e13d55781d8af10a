"""Settings are tried from cheap to dear, and what others on the machine do to their times misleads nobody."""

from quiver.indexers._tune import Trial, climb, frontier


def test_a_ladder_is_left_where_nothing_more_is_found():
    recalls = {1: 0.5, 2: 0.8, 4: 0.9, 8: 0.9005, 16: 0.901, 32: 0.9011}
    tried = list(climb([[{"n": n} for n in recalls]], lambda spend: (recalls[spend["n"]], float(spend["n"]))))
    assert [trial.spend["n"] for trial in tried] == [1, 2, 4, 8, 16]


def test_a_setting_is_not_dropped_because_it_was_measured_in_a_bad_moment():
    recalls = {1: 0.6, 2: 0.8, 4: 0.95, 8: 0.99}
    disturbed = {1: 1.0, 2: 9.0, 4: 30.0, 8: 8.0}
    kept = frontier([Trial({"n": n}, recall, disturbed[n]) for n, recall in recalls.items()], most=9)
    assert [(trial.spend["n"], trial.ms) for trial in kept] == [(1, 1.0), (2, 8.0), (4, 8.0), (8, 8.0)]


def test_settings_of_which_none_does_all_the_work_of_the_other_keep_their_times():
    trials = [Trial({"n": 2, "r": 1}, 0.7, 3.0), Trial({"n": 1, "r": 2}, 0.8, 2.0)]
    assert [trial.ms for trial in frontier(trials, most=9)] == [2.0]


def test_what_is_left_out_is_bettered_least_by_the_next():
    recalls = [0.5, 0.51, 0.9, 0.91, 0.99]
    kept = frontier([Trial({"n": n}, recall, float(n)) for n, recall in enumerate(recalls, 1)], most=3)
    assert [trial.recall for trial in kept] == [0.51, 0.91, 0.99]
