"""Certificates for tests, made by the openssl command: for localhost and 127.0.0.1, each its own authority."""
import dataclasses
import pathlib
import subprocess


@dataclasses.dataclass
class Pair:
    certificate: pathlib.Path
    key: pathlib.Path


def make(folder, name="tls", names="DNS:localhost,IP:127.0.0.1"):
    pair = Pair(folder / f"{name}.crt", folder / f"{name}.key")
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
                    "-subj", f"/CN={name}", "-addext", f"subjectAltName={names}",
                    "-addext", "extendedKeyUsage=serverAuth,clientAuth", "-keyout", pair.key, "-out", pair.certificate],
                   check=True, capture_output=True)
    return pair
