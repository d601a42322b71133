"""Create the TLS certificate of the API, and the CA bundle with which clients trust it."""

import datetime
import os
import ssl
from pathlib import Path

import certifi
import trustme
from cryptography import x509
from cryptography.exceptions import InvalidSignature

from local_dbt_cloud.data_directory import DataDirectory

# The last one is the service name under Docker.
HOST_NAMES = ("localhost", "127.0.0.1", "::1", "local-dbt-cloud")
RENEW_BEFORE_EXPIRY = datetime.timedelta(days=30)


def prepare_certificates(data: DataDirectory) -> None:
    """Create the certificates if they are missing, invalid or expire soon, and write the CA bundle.

    The bundle also contains the public certificate authorities, so that a real dbt Cloud is trusted with the
    same settings. The private key of our authority is never stored: nobody can issue another certificate that
    users' bundles trust.
    """
    if not _are_valid(data):
        authority = trustme.CA(organization_name="local dbt Cloud of an Airflow starter")
        certificate = authority.issue_cert(*HOST_NAMES)
        chain = [certificate.private_key_pem, *certificate.cert_chain_pems]
        # The authority first: if the process is killed in between, the next start renews the server
        # certificate.
        _write_atomically(data.ca_certificate, authority.cert_pem.bytes())
        _write_atomically(data.server_certificate, b"".join(blob.bytes() for blob in chain), mode=0o600)
    own_authority = data.ca_certificate.read_bytes()
    bundle = [own_authority, Path(certifi.where()).read_bytes()]
    # Companies name their private authority in these variables.
    for variable in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"):
        path = Path(os.environ.get(variable, ""))
        if path.is_file() and not path.samefile(certifi.where()):
            content = path.read_bytes()
            # A bundle that this function wrote earlier already contains everything; adding it would duplicate
            # it.
            if own_authority not in content and content not in bundle:
                bundle.append(content)
    _write_atomically(data.ca_bundle, b"\n".join(bundle))


def _are_valid(data: DataDirectory) -> bool:
    try:
        authority = x509.load_pem_x509_certificate(data.ca_certificate.read_bytes())
        certificate = x509.load_pem_x509_certificate(data.server_certificate.read_bytes())
        certificate.verify_directly_issued_by(authority)
        # Fails if the private key is missing or belongs to another certificate.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(data.server_certificate)
    except (OSError, ValueError, InvalidSignature):
        return False
    expiry = certificate.not_valid_after_utc
    return expiry - datetime.datetime.now(datetime.UTC) > RENEW_BEFORE_EXPIRY


def _write_atomically(path: Path, content: bytes, mode: int = 0o644) -> None:
    # Clients may read the bundle at any time.
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
    temporary.replace(path)
