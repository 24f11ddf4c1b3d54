"""Activations of a user's own, in a module that worker processes can import."""


def gentle(x):
    return x / (1.0 + abs(x))


def other(x):
    return x / (2.0 + abs(x))
