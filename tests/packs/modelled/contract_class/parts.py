"""What the nodes share."""


class Any(str):
    def __ne__(self, other):
        return False


ANY = Any("*")


class Every(dict):
    """Claims to hold every name."""

    def __contains__(self, key):
        return True

    def __getitem__(self, key):
        return super().__getitem__(key) if dict.__contains__(self, key) else (ANY,)


def show(value):
    """For an output node: the text of a value."""
    return {"ui": {"text": [str(value)]}, "result": (value,)}
