"""Weight files are read without running code they carry; there is nothing to load here."""
