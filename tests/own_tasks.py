"""Tasks of a user's own for the tests of the command line."""


def fragile(i, broken):
    if i < 0:
        raise KeyboardInterrupt
    if i % 3 == 2 and broken.exists():
        raise RuntimeError("it is broken")
    return {"square": i * i}


def weighted(i, weights):
    return {"weight": weights[i]}
