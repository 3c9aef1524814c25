"""Certificates for tests, made by the openssl command: for localhost and 127.0.0.1, each its own authority."""
import dataclasses
import pathlib
import subprocess


@dataclasses.dataclass
class Pair:
    certificate: pathlib.Path
    key: pathlib.Path


def make(folder, name="tls", usage="serverAuth,clientAuth"):
    pair = Pair(folder / f"{name}.crt", folder / f"{name}.key")
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
                    "-subj", f"/CN={name}", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
                    "-addext", f"extendedKeyUsage={usage}", "-keyout", pair.key, "-out", pair.certificate],
                   check=True, capture_output=True)
    return pair
