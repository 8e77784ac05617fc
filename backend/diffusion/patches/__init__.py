"""Changes to how a model is guided and run, each a function from a MODEL handle to another one; a file per method.

A patch adds taps (see `ModelHandle` and `backend.nn.taps`) or weight patches. It knows no model family: what a net calls its places is
all it relies on, and a net without such places is refused in a sentence.
"""
