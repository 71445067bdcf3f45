"""Seconds that calls take: a machine's clock, replaced by one that is known."""

from labelreg.book import timing


def test_calls_take_turns_and_the_median_leaves_the_first_turn_and_outliers_out(monkeypatch):
    clock, order = [0.0], []
    durations = {"a": iter([50, 1, 2, 99]), "b": iter([70, 5, 3, 4])}

    def call(name):
        order.append(name)
        clock[0] += next(durations[name])

    monkeypatch.setattr(timing.time, "perf_counter", lambda: clock[0])
    seconds = timing.median_seconds({"a": lambda: call("a"), "b": lambda: call("b")}, repeats=3)
    assert seconds == {"a": 2, "b": 4}
    assert order == ["a", "b"] * 4
