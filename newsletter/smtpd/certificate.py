"""The certificate of a listener, which may be renewed while it runs."""

import ssl
from datetime import datetime
from pathlib import Path

import structlog
from cryptography import x509

log = structlog.get_logger(__name__)

HANDSHAKE_SECONDS = 30.0
"""What a client gets to agree on TLS."""


class Certificate:
    """Reads the files again when one of them has changed, whenever `context` is asked for."""

    def __init__(self, certificate: Path, key: Path | None) -> None:
        """Raises `OSError` for files that are no certificate and its key."""
        self._paths = (certificate, key)
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.minimum_version = ssl.TLSVersion.TLSv1_2
        self._context.load_cert_chain(certificate, key)
        self._read = self._changed_at()
        self.ends = end_of(certificate)
        """When the one in force ends."""

    def context(self) -> ssl.SSLContext:
        """Files that are gone or broken leave the former certificate in force."""
        try:
            changed_at = self._changed_at()
            if changed_at != self._read:
                ends = end_of(self._paths[0])
                self._context.load_cert_chain(*self._paths)
                self._read, self.ends = changed_at, ends
                log.info("read a renewed certificate", ends=self.ends.isoformat())
        except OSError as error:
            log.warning("the certificate cannot be read; the former one stays", reason=str(error))
        return self._context

    def _changed_at(self) -> list[int]:
        return [path.stat().st_mtime_ns for path in self._paths if path is not None]


def end_of(certificate: Path) -> datetime:
    """When the first certificate in a file of PEM ends, the one that clients check. Raises `OSError`, also
    for what is no certificate: OpenSSL serves some kinds that cannot be read here."""
    try:
        return x509.load_pem_x509_certificate(certificate.read_bytes()).not_valid_after_utc
    except ValueError as error:
        raise OSError(f"it holds no certificate: {error}") from error
