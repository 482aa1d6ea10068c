"""What a steering widget says."""

from __future__ import annotations

from saewidgets.errors import ConfigError
from saewidgets.widgets.steering.commands import changes, failed_note


def test_texts_are_aligned_so_that_what_comes_again_is_not_marked() -> None:
    assert changes([1, 2, 3, 4], [1, 2, 3, 4]) == ((), ())
    assert changes([1, 2, 3, 4], [9, 2, 3, 4]) == ((0,), (0,))
    assert changes([1, 2, 3], [1, 7, 8, 2, 3]) == ((), (1, 2))
    assert changes([], [1]) == ((), (0,))
    long = [1] * 1500
    assert changes(long, [*long[:-1], 2]) == ((1499,), (1499,))


def test_errors_say_that_nothing_was_generated() -> None:
    note = failed_note(ConfigError("the prompt is long.", where="Nothing was generated", hint="Shorten it."), 0)
    assert (note.what, note.where, note.hint) == ("Nothing was generated: the prompt is long.", None, "Shorten it.")
    assert failed_note(ConfigError("There is no X.", where="x"), 0).what == "Nothing was generated: there is no X."
    assert failed_note(ConfigError("GPT2 is gone."), 3).what == "An error ended it after 3 tokens: GPT2 is gone."
    assert failed_note(ValueError("odd"), 1).what == "An error ended it after 1 token: ValueError: odd"
