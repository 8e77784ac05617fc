"""What stands before the background of pictures (BiRefNet): a windowed transformer, and a decoder that looks at the picture again."""
