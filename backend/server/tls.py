"""Certificate and key for HTTPS."""

from __future__ import annotations

import ssl
from pathlib import Path

from backend.base.errors import BadFile, MissingFile, Refused


def context(certfile: Path | None, keyfile: Path | None) -> ssl.SSLContext | None:
    """What serves TLS 1.2 and newer, or None without a certificate. Raises Refused, MissingFile, BadFile."""
    if certfile is None:
        if keyfile is not None:
            raise Refused(
                "There is a TLS key but no certificate.", hint="Add --tls-certfile, or leave --tls-keyfile out to serve plain HTTP."
            )
        return None
    for file in (certfile, keyfile):
        if file is not None and not file.is_file():
            raise MissingFile(f"There is no file {file}.", hint="Check --tls-certfile and --tls-keyfile.", file=file)
    made = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        made.load_cert_chain(certfile, keyfile, password=lambda: "")  # nobody is there to type one
    except (ssl.SSLError, OSError, ValueError) as error:
        raise BadFile(
            f"The TLS certificate {certfile.name} and its key cannot be used: {error}.",
            hint="Both must be PEM files that belong together; the key must not be protected by a password.",
            file=certfile,
        ) from error
    return made
