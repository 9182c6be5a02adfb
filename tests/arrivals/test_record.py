import pytest
from hypothesis import given
from hypothesis import strategies as st

from offhook.arrivals.record import Arrival, pack, unpack
from offhook.core.inbound import Webhook
from offhook.core.keys import Kind
from testing.stores import webhook

ARRIVALS = st.lists(
    st.builds(
        Arrival,
        st.builds(
            Webhook,
            st.sampled_from(Kind),
            st.binary(max_size=200),
            st.none() | st.integers(1, 100_000).map(lambda notice: notice / 1000),
        ),
        st.integers(1, 2**60),
    ),
    max_size=20,
)


@given(ARRIVALS)
def test_what_was_packed_comes_back(arrivals: list[Arrival]) -> None:
    assert list(unpack(pack(arrivals))) == arrivals


@given(ARRIVALS.filter(bool), st.data())
def test_a_batch_that_is_cut_is_none(arrivals: list[Arrival], data: st.DataObject) -> None:
    batch = pack(arrivals)
    cut = data.draw(st.integers(0, len(batch) - 1))
    with pytest.raises(ValueError, match="checksum"):
        list(unpack(batch[:cut]))


@given(ARRIVALS.filter(bool), st.data())
def test_nor_is_one_of_which_a_bit_has_changed(
    arrivals: list[Arrival], data: st.DataObject
) -> None:
    batch = bytearray(pack(arrivals))
    batch[data.draw(st.integers(0, len(batch) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(ValueError, match="checksum"):
        list(unpack(bytes(batch)))


def test_what_people_wrote_is_not_in_the_repr() -> None:
    assert "secret" not in repr(Arrival(webhook("SM1", Body="secret"), 1))
