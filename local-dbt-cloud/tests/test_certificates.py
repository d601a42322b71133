"""Certificates: created once, renewed when invalid, trusted through a bundle with the public authorities."""

import re
import ssl
import stat
from pathlib import Path

import certifi
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from local_dbt_cloud.certificates import prepare_certificates
from local_dbt_cloud.data_directory import DataDirectory


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DataDirectory:
    monkeypatch.delenv("SSL_CERT_FILE")
    monkeypatch.delenv("REQUESTS_CA_BUNDLE")
    return DataDirectory(tmp_path)


def test_certificate_is_kept_across_restarts(data: DataDirectory) -> None:
    prepare_certificates(data)
    first = data.server_certificate.read_bytes(), data.ca_bundle.read_bytes()
    prepare_certificates(data)
    assert (data.server_certificate.read_bytes(), data.ca_bundle.read_bytes()) == first


@pytest.mark.parametrize("name", ["server.pem", "ca.pem"])
@pytest.mark.parametrize("broken", ["", "nonsense", "without the key", "another one"])
def test_invalid_certificate_is_replaced(data: DataDirectory, name: str, broken: str) -> None:
    prepare_certificates(data)
    file, content = data.root / name, broken
    if broken == "without the key":
        content = re.sub("^.*?(?=-----BEGIN CERT)", "", file.read_text(), flags=re.DOTALL)
    elif broken == "another one":
        (data.root / "other").mkdir()
        prepare_certificates(DataDirectory(data.root / "other"))
        content = (data.root / "other" / name).read_text()
    file.write_text(content)
    prepare_certificates(data)
    context = ssl.create_default_context(cafile=str(data.ca_bundle))
    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(data.server_certificate)
    authority = x509.load_pem_x509_certificate(data.ca_certificate.read_bytes())
    x509.load_pem_x509_certificate(data.server_certificate.read_bytes()).verify_directly_issued_by(authority)
    assert authority.public_bytes(serialization.Encoding.DER) in context.get_ca_certs(binary_form=True)


def test_private_key_is_readable_by_its_owner_only(data: DataDirectory) -> None:
    prepare_certificates(data)
    assert stat.S_IMODE(data.server_certificate.stat().st_mode) == 0o600
    others = [path for path in data.root.iterdir() if path != data.server_certificate]
    assert not [path for path in others if b"PRIVATE KEY" in path.read_bytes()]


def test_bundle_contains_public_authorities(data: DataDirectory) -> None:
    prepare_certificates(data)
    assert Path(certifi.where()).read_bytes() in data.ca_bundle.read_bytes()


def test_bundle_contains_a_company_authority(
    data: DataDirectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    company = tmp_path / "company.pem"
    company.write_bytes(b"the company's certificate")
    monkeypatch.setenv("SSL_CERT_FILE", str(company))
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(company))
    prepare_certificates(data)
    assert data.ca_bundle.read_bytes().count(b"the company's certificate") == 1


def test_bundle_is_not_added_to_itself(data: DataDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    prepare_certificates(data)
    size = data.ca_bundle.stat().st_size
    monkeypatch.setenv("SSL_CERT_FILE", str(data.ca_bundle))
    prepare_certificates(data)
    assert data.ca_bundle.stat().st_size == size
