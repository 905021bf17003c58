"""Which hawkBit server is asked, and as whom: read from the configuration."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from camagent.config import Hawkbit
from camagent.errors import ConfigError, HawkbitDenied, printable
from camagent.redact import without_credentials
from firmware_pkg.addresses import Prefix, UnusableUrl, Url, parse_url
from firmware_pkg.order import ClientCertificate

TOKEN_CHARS = 512


@dataclass(frozen=True, slots=True)
class Server:
    """Who is asked, and as whom."""

    base: Url  # the root resource of this device
    controller_id: str
    scheme: str  # of the Authorization header
    token_file: Path | None
    ca_file: Path | None
    client: ClientCertificate | None
    download_from: tuple[Prefix, ...]

    @classmethod
    def of(cls, section: Hawkbit, agent: str) -> Server:
        """From the configuration. Raises ConfigError for a URL that is none."""
        base = _url(section.url)
        controller_id = section.controller_id or agent
        segments = (*(part for part in base.segments if part), section.tenant, "controller", "v1", controller_id)
        client = ClientCertificate(section.cert_file, section.key_file) if section.cert_file and section.key_file else None
        return cls(
            base=Url(base.scheme, base.host, base.port, segments, ""),
            controller_id=controller_id,
            scheme="GatewayToken" if section.gateway_token_file else "TargetToken",
            token_file=section.gateway_token_file or section.target_token_file,
            ca_file=section.ca_file,
            client=client,
            download_from=tuple(_prefix(entry) for entry in section.download_from),
        )

    def token(self) -> str | None:
        """What proves who this is, read anew every time; None where a certificate does. Raises HawkbitDenied."""
        if self.token_file is None:
            return None
        try:
            token = self.token_file.read_text("ascii").strip()
        except (OSError, UnicodeDecodeError) as exc:
            raise self._no_token(exc.strerror or "cannot be read" if isinstance(exc, OSError) else "is not ASCII") from exc
        if not token or len(token) > TOKEN_CHARS or not token.isprintable() or " " in token:
            raise self._no_token("holds no token")
        return token

    def _no_token(self, why: str) -> HawkbitDenied:
        key = "gateway_token_file" if self.scheme == "GatewayToken" else "target_token_file"
        return HawkbitDenied(
            f"the file of fleet.hawkbit.{key} cannot be used: {why}",
            evidence={"file": self.token_file},
            fix="put the token into it, alone on one line, readable for the user that the agent runs as",
        )


def check(section: Hawkbit, agent: str) -> None:
    """Raises ConfigError for what cannot be spoken to."""
    if section.url:
        Server.of(section, agent)


def _url(text: str) -> Url:
    try:
        url = parse_url(text)
    except UnusableUrl as exc:
        raise ConfigError(
            f"fleet.hawkbit.url cannot be used: {exc}",
            evidence={"url": without_credentials(text), "expected": "https://hawkbit.example.org"},
            fix="give the address of the server, without tenant and path of the API",
        ) from exc
    if url.query or "controller" in url.segments:
        raise ConfigError(
            "fleet.hawkbit.url is not the base of a server",
            evidence={"url": printable(url.shown), "expected": "https://hawkbit.example.org"},
            fix="leave out tenant, controller/v1 and query: tenant and controller_id are keys of their own",
        )
    return url


def _prefix(entry: str) -> Prefix:
    try:
        found = Prefix.parse(entry)
    except UnusableUrl as exc:
        raise _bad_prefix(entry, str(exc)) from exc
    if found.url.scheme != "https":
        raise _bad_prefix(entry, "other servers are asked over https only")
    return found


def _bad_prefix(entry: str, why: str) -> ConfigError:
    return ConfigError(
        f"fleet.hawkbit.download_from: {without_credentials(entry)} cannot be used: {why}",
        evidence={"entry": without_credentials(entry), "expected": "https://cdn.example.org/bundles/"},
        fix="give URLs of folders",
    )
