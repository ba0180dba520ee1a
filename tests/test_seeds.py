from job import seeds


def test_a_purpose_has_its_own_stream_and_keeps_it():
    first = seeds.generator(42, "order", "fold", 1, "epoch", 1).integers(2**32, size=4).tolist()
    assert first == seeds.generator(42, "order", "fold", 1, "epoch", 1).integers(2**32, size=4).tolist()
    others = [
        (42, "order", "fold", 1, "epoch", 2),
        (43, "order", "fold", 1, "epoch", 1),
        (42, "noise", "fold", 1, "epoch", 1),
    ]
    assert all(seeds.generator(*other).integers(2**32, size=4).tolist() != first for other in others)


def test_seeds_do_not_depend_on_the_interpreter():
    """Python's own hash of text changes with every start. By hand: printf 42/order/1 | sha256sum, 16 digits, halved."""
    assert seeds.derive(42, "order", 1) == 6928704660072836851
