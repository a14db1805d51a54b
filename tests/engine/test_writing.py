import threading

import pytest

from npnet.engine.writing import Writer


def test_calls_are_made_in_order_in_another_thread():
    seen = []
    with Writer(ahead=2) as writer:
        for number in range(20):
            writer.submit(lambda number: seen.append((number, threading.current_thread())), number)
    assert [number for number, _ in seen] == list(range(20))
    assert threading.main_thread() not in {thread for _, thread in seen}


def test_no_more_than_a_few_calls_wait():
    gate, waiting = threading.Event(), []
    with Writer(ahead=3) as writer:
        for _ in range(3):
            writer.submit(gate.wait, 10)

        def one_more():
            waiting.append(True)
            writer.submit(gate.wait, 10)
            waiting.append(False)

        thread = threading.Thread(target=one_more)
        thread.start()
        thread.join(0.2)
        assert waiting == [True], "it waits for the first to end"
        gate.set()
        thread.join(10)
    assert waiting == [True, False]


def test_an_error_is_raised_at_the_end():
    def fail():
        raise OSError("the disk is full")

    def write():
        with Writer() as writer:
            writer.submit(fail)

    with pytest.raises(OSError, match="the disk is full"):
        write()


def test_an_error_of_the_sampling_is_the_one_that_is_raised():
    with pytest.raises(KeyError, match="sampling"), Writer() as writer:
        writer.submit(int, "no number")
        raise KeyError("sampling")
