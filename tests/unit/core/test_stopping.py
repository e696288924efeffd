"""Signals that stop: noted where somebody listens, and left alone where they are ignored."""

from __future__ import annotations

import os
import signal

from priorscope.core.stopping import stopping


def test_a_signal_is_noted_and_its_handler_put_back():
    before = signal.getsignal(signal.SIGTERM)
    with stopping() as asked:
        os.kill(os.getpid(), signal.SIGTERM)
    assert asked.number == signal.SIGTERM
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_signal_that_is_ignored_stays_so():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with stopping() as asked:
            os.kill(os.getpid(), signal.SIGINT)
        assert asked.number is None
    finally:
        signal.signal(signal.SIGINT, before)
