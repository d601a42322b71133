"""Makes the certificate that the API serves, and the bundle with which clients trust it."""

import datetime
import os
from pathlib import Path

import certifi
import trustme
from cryptography import x509

from local_dbt_cloud.data_directory import DataDirectory

# The last one is the service's name under Docker.
HOST_NAMES = ("localhost", "127.0.0.1", "::1", "local-dbt-cloud")
RENEW_BEFORE_EXPIRY = datetime.timedelta(days=30)


def prepare_certificates(data: DataDirectory) -> None:
    """Make a certificate authority and a server certificate on first start, and write the CA bundle.

    The bundle holds the public authorities too, so that a real dbt Cloud is trusted with the same settings.
    The authority's private key is thrown away: nobody can make another certificate that users' bundles trust.
    """
    authority = data.root / "ca.pem"
    if not (authority.is_file() and _is_valid(data.server_certificate)):
        ca = trustme.CA(organization_name="local dbt Cloud of an Airflow starter")
        certificate = ca.issue_cert(*HOST_NAMES)
        server = certificate.private_key_pem.bytes() + b"".join(
            blob.bytes() for blob in certificate.cert_chain_pems
        )
        # The authority first: after a kill in between, the server's missing or old certificate is made anew.
        _write(authority, ca.cert_pem.bytes())
        _write(data.server_certificate, server, mode=0o600)
    bundle = [authority.read_bytes(), Path(certifi.where()).read_bytes()]
    # Companies often have an authority of their own, named by these variables.
    for variable in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"):
        path = Path(os.environ.get(variable, ""))
        if path.is_file() and not path.samefile(certifi.where()):
            content = path.read_bytes()
            # A bundle of ours, this one or another data directory's, holds what was copied here before.
            if authority.read_bytes() not in content and content not in bundle:
                bundle.append(content)
    _write(data.ca_bundle, b"\n".join(bundle))


def _is_valid(path: Path) -> bool:
    try:
        certificate = x509.load_pem_x509_certificate(path.read_bytes())
    except (OSError, ValueError):
        return False
    expiry = certificate.not_valid_after_utc
    return expiry - datetime.datetime.now(datetime.UTC) > RENEW_BEFORE_EXPIRY


def _write(path: Path, content: bytes, mode: int = 0o644) -> None:
    # Another process may read the file at any moment: it sees the old content or the new, never half.
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
    temporary.replace(path)
