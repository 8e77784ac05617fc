"""Placement decisions as properties."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from backend.memory.plan import WINDOW, Demand, Held, fastest, next_to_read, place

HELD = st.lists(
    st.builds(Held, st.sampled_from("abcde"), st.integers(0, 100), st.integers(0, 50), st.booleans(), st.none() | st.integers(0, 4)),
    unique_by=lambda h: h.key,
    max_size=5,
)
DEMAND = st.builds(Demand, st.sampled_from("abz"), st.lists(st.integers(0, 60), max_size=8).map(tuple), st.integers(0, 100))


@given(DEMAND, HELD, st.integers(0, 300))
def test_never_over_budget_unless_leases_are(demand: Demand, held: list[Held], budget: int) -> None:
    placement = place(demand, held, budget)
    others = sum(h.nbytes for h in held if h.key != demand.key and h.key not in placement.evict)
    leased = sum(h.nbytes for h in held if h.key != demand.key and h.leased)
    kept = sum(size for size, stay in zip(demand.layers, placement.resident, strict=True) if stay)
    assert others + kept <= max(budget, leased)


@given(DEMAND, HELD, st.integers(0, 300))
def test_evicts_only_what_may_go_and_what_is_needed_last_first(demand: Demand, held: list[Held], budget: int) -> None:
    placement = place(demand, held, budget)
    gone = [h for h in held if h.key in placement.evict]
    assert not any(h.leased or h.key == demand.key for h in gone)
    stays = [h for h in held if h.key not in placement.evict and not h.leased and h.key != demand.key]
    for g in gone:
        for s in stays:
            if g.next_use is None:
                assert s.next_use is not None or g.last_used <= s.last_used
            else:
                assert s.next_use is not None and g.next_use >= s.next_use


@given(DEMAND, HELD, st.integers(0, 300))
def test_nothing_is_evicted_in_vain(demand: Demand, held: list[Held], budget: int) -> None:
    placement = place(demand, held, budget)
    need = sum(demand.layers) + demand.working
    used = sum(h.nbytes for h in held if h.key != demand.key)
    if used + need <= budget:
        assert placement.evict == ()
        assert all(placement.resident)
    for i, key in enumerate(placement.evict):
        used_then = used - sum(h.nbytes for h in held if h.key in placement.evict[:i])
        assert used_then + need > budget, key


@given(DEMAND, HELD, st.integers(0, 300), st.integers(0, 300))
def test_more_memory_never_keeps_fewer_bytes_resident_when_all_fit(demand: Demand, held: list[Held], budget: int, more: int) -> None:
    if all(place(demand, held, budget).resident):
        assert all(place(demand, held, budget + more).resident)


@given(st.integers(2, 40), st.floats(0.1, 0.9))
def test_streamed_layers_lie_between_resident_ones(count: int, part: float) -> None:
    layers = (100,) * count
    room = int(part * count * 100)
    stay = place(Demand("z", layers), [], room + 200).resident
    kept = sum(stay)
    assert kept == (count if room + 200 >= count * 100 else room // 100)
    runs = [len(run) for run in "".join("k" if s else "s" for s in stay).split("k")]
    assert max(runs) <= -(-(count - kept) // max(1, kept)) + 1


@given(st.integers(200, 2000))
def test_small_layers_stay_first(budget: int) -> None:
    layers = (100, 1, 100, 1, 100, 1, 100, 1)
    stay = place(Demand("z", layers), [], budget).resident
    if budget >= 204:
        assert all(s for s, size in zip(stay, layers, strict=True) if size == 1)


@given(HELD, st.lists(st.tuples(st.sampled_from("abcdefg"), st.integers(0, 100)), max_size=4), st.integers(0, 50), st.integers(0, 300))
def test_reading_ahead_takes_only_what_is_free(held: list[Held], upcoming: list[tuple[str, int]], working: int, budget: int) -> None:
    key = next_to_read(upcoming, held, working, budget)
    absent = [(k, n) for k, n in upcoming if k not in {h.key for h in held}]
    if key is not None:
        assert absent[0][0] == key and sum(h.nbytes for h in held) + working + absent[0][1] <= budget
    else:
        assert not absent or sum(h.nbytes for h in held) + working + absent[0][1] > budget


WAYS = st.lists(st.integers(0, 100), min_size=1, max_size=4).map(lambda needs: sorted(needs, reverse=True))


@given(WAYS, st.lists(st.lists(st.integers(0, 60), max_size=6), min_size=1, max_size=2), st.integers(0, 300))
def test_the_fastest_way_that_keeps_most_is_taken(needs: list[int], forms: list[list[int]], room: int) -> None:
    way = fastest(needs, forms, room)

    def stays(need: int) -> bool:
        return any(sum(sizes) + need <= room for sizes in forms)

    def runs(need: int) -> bool:
        return WINDOW * max(forms[-1], default=0) + need <= room

    if any(stays(need) for need in needs):
        assert stays(needs[way])
        if sum(forms[0]) + needs[0] <= room:
            assert way == 0
    elif any(runs(need) for need in needs):
        assert runs(needs[way]) and not any(runs(need) for need in needs[:way])
    else:
        assert way == len(needs) - 1
