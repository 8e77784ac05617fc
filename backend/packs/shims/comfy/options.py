"""Arguments are read at the start."""

args_parsing = True


def enable_args_parsing(enable: bool = True) -> None:
    return None
