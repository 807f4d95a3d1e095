"""Parts of a training: one for each change of steps or devices that had an effect."""

from genloom_train.parts import Part, gone_on, in_words


def test_a_resume_under_the_same_steps_and_devices_is_no_new_part():
    assert gone_on([Part(0, 9, 1)], Part(4, 9, 1)) == [Part(0, 9, 1)]


def test_other_steps_or_devices_begin_a_part():
    assert gone_on([Part(0, 9, 1)], Part(4, 9, 2)) == [Part(0, 9, 1), Part(4, 9, 2)]
    assert gone_on([Part(0, 9, 1)], Part(9, 12, 1)) == [Part(0, 9, 1), Part(9, 12, 1)]


def test_a_part_in_which_nothing_was_done_is_forgotten():
    parts = [Part(0, 9, 1), Part(4, 7, 2)]
    assert gone_on(parts, Part(4, 9, 1)) == [Part(0, 9, 1)]
    assert gone_on(parts, Part(2, 9, 1)) == [Part(0, 9, 1)]


def test_words_say_how_far_each_part_went_and_nothing_of_a_single_one():
    assert in_words([Part(0, 9, 1)], 9) == []
    parts = [Part(0, 9, 2), Part(4, 7, 1)]
    assert in_words(parts, 7) == ["to step 4 of 9 on 2 devices", "to step 7 of 7"]
