"""Certificate authorities and certificates, made for a test."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Self

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


@dataclass(frozen=True)
class Pair:
    """A certificate and its key, as PEM."""

    certificate: bytes
    key: bytes

    def write(self, folder: Path, name: str = "tls") -> dict[str, str]:
        """The settings of a server that has it."""
        paths = {"tls_certificate": folder / f"{name}.crt", "tls_key": folder / f"{name}.key"}
        paths["tls_certificate"].write_bytes(self.certificate)
        paths["tls_key"].write_bytes(self.key)
        return {setting: str(path) for setting, path in paths.items()}


class Authority:
    def __init__(self, name: str) -> None:
        self._name = _name(name)
        self._key = ec.generate_private_key(ec.SECP256R1())
        self.pem = _pem(_signed(self._name, self._key.public_key(), self._name, self._key, ca=True))

    @classmethod
    def written(cls, name: str, path: Path) -> Self:
        made = cls(name)
        path.write_bytes(made.pem)
        return made

    def pair(self, name: str, *names: str, ends: timedelta = timedelta(days=30)) -> Pair:
        """For `name`, which is its common name, and other names and addresses."""
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = _signed(_name(name), key.public_key(), self._name, self._key, names or (name,), ends)
        pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return Pair(_pem(certificate), pem)


def channel(port: int, trusted: bytes, shown: Pair | None = None, name: str = "localhost") -> grpc.Channel:
    """With a connection of its own, to a server on this machine."""
    own = (None, None) if shown is None else (shown.key, shown.certificate)
    options = [("grpc.ssl_target_name_override", name), ("grpc.use_local_subchannel_pool", 1)]
    return grpc.secure_channel(f"127.0.0.1:{port}", grpc.ssl_channel_credentials(trusted, *own), options)


def _signed(
    subject: x509.Name,
    key: ec.EllipticCurvePublicKey,
    issuer: x509.Name,
    issuer_key: ec.EllipticCurvePrivateKey,
    names: tuple[str, ...] = (),
    ends: timedelta = timedelta(days=30),
    *,
    ca: bool = False,
) -> x509.Certificate:
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=2))
        .not_valid_after(now + ends)
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
    )
    if names:
        alternatives = [x509.IPAddress(ip_address(name)) if name[0].isdigit() else x509.DNSName(name) for name in names]
        builder = builder.add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
    return builder.sign(issuer_key, hashes.SHA256())


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)
