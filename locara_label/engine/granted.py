"""What task data may be read, from the settings."""

from __future__ import annotations

from locara_label.fetch import Rules
from locara_label.settings import Settings


def rules(settings: Settings, label_studio_url: str | None = None, token: str | None = None) -> Rules:
    """The grants of the capabilities, and Label Studio: the one of the settings unless another is named.

    Raises:
        BadOption: a grant is not a host, a folder ...
    """
    server, granted = settings.server, settings.capabilities
    configured = server.api_key.get_secret_value() if server.api_key else None
    return Rules(
        label_studio_url=label_studio_url or server.label_studio_url,
        token=token or configured,
        allowed_hosts=granted.hosts,
        allow_private=granted.private,
        roots=granted.folders,
        local_files_root=server.local_files_root,
        ca_file=server.ca_file,
        max_bytes=settings.max_image_bytes,
    )
