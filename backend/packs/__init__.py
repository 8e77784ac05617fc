"""Node packs of the wider ecosystem: the only room, besides the server's wire words, that knows foreign names."""
