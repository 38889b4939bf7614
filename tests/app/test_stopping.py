"""Ctrl-C once asks, twice insists; handlers are as before afterwards."""

from __future__ import annotations

import signal
import threading

import pytest

from smartscope.app._stop import Stopper, orderly_stop


def test_first_signal_asks_second_insists() -> None:
    said: list[str] = []
    with orderly_stop(said.append) as stop:
        assert not stop.is_set()
        signal.raise_signal(signal.SIGINT)
        assert stop.is_set()
        assert len(said) == 1
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize("name", ["SIGTERM", "SIGBREAK"])
def test_other_signals_ask_too(name: str) -> None:
    if not hasattr(signal, name):
        pytest.skip(f"this system has no {name}")
    with orderly_stop(lambda text: None) as stop:
        signal.raise_signal(getattr(signal, name))
        assert stop.is_set()


def test_impatience_does_not_keep_the_light_on(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("smartscope.app._stop.time.monotonic", lambda: now[0])
    stopper = Stopper(lambda text: None)
    stopper(signal.SIGINT, None)
    with pytest.raises(KeyboardInterrupt):
        stopper(signal.SIGINT, None)
    now[0] += 4.0
    stopper(signal.SIGINT, None)  # ignored: the safe state is being applied
    now[0] += 2.0
    with pytest.raises(KeyboardInterrupt):
        stopper(signal.SIGINT, None)


def test_handlers_are_given_back() -> None:
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(ZeroDivisionError), orderly_stop(lambda text: None):
        assert signal.getsignal(signal.SIGINT) is not before
        raise ZeroDivisionError
    assert signal.getsignal(signal.SIGINT) is before


def test_other_threads_handle_no_signals() -> None:
    handlers = []

    def work() -> None:
        with orderly_stop(lambda text: None):
            handlers.append(signal.getsignal(signal.SIGINT))

    before = signal.getsignal(signal.SIGINT)
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert handlers == [before]
