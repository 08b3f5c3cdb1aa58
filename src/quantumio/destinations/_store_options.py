"""The options of destinations on top of fsspec: how their store is reached."""

from __future__ import annotations

from typing import Final

from attrs import frozen

from quantumio.destinations._options import Options
from quantumio.destinations._remote import RemoteFiles, check_encrypted, open_remote
from quantumio.destinations._secrets import resolve_credentials
from quantumio.model import check_identifier

__all__ = ["STORE_OPTIONS", "StoreOptions"]

_TIMEOUT_S: Final = 60.0
STORE_OPTIONS: Final = ("credentials", "endpoint", "insecure", "region", "root", "timeout_s")


@frozen(kw_only=True)
class StoreOptions:
    """How to reach a store: what all kinds on top of fsspec share."""

    credentials: str | None
    endpoint: str | None
    insecure: bool
    region: str | None
    timeout_s: float

    @classmethod
    def read(cls, options: Options) -> StoreOptions:
        """Read and check the options.

        Raises
        ------
        InvalidInputError
            One is not valid, or the endpoint is not encrypted and ``insecure`` is not set.
        """
        credentials = options.text("credentials")
        if credentials is not None:
            check_identifier(credentials, "credentials profile")
        endpoint = options.text("endpoint")
        insecure = options.flag("insecure")
        if endpoint is not None and not endpoint.lower().startswith(("http://", "https://")):
            raise options.wrong("endpoint", "give a URL that begins with https://")
        if endpoint is not None and not insecure:
            check_encrypted(options.name, endpoint, insecure=False)
        return cls(
            credentials=credentials,
            endpoint=endpoint,
            insecure=insecure,
            region=options.text("region"),
            timeout_s=options.seconds("timeout_s", _TIMEOUT_S),
        )

    def connect(self, name: str, url: str) -> RemoteFiles:
        """Open the file system of a URL with the credentials as they are now."""
        credentials = None if self.credentials is None else resolve_credentials(self.credentials)
        return open_remote(
            name,
            url,
            credentials=credentials,
            endpoint=self.endpoint,
            region=self.region,
            insecure=self.insecure,
            timeout_s=self.timeout_s,
        )
