"""Tink in Python: `write URI NAME` makes NAME.envelope and NAME.keyset; `read URI NAME` reads them."""

import sys
from pathlib import Path

import boto3
import tink
from tink import aead, json_proto_keyset_format
from tink.integration import awskms

aead.register()
action, uri, name = sys.argv[1:]
associated = b"host web1"
remote = awskms.new_client(boto3_client=boto3.client("kms"), key_uri=uri).get_aead(uri)
envelope = aead.KmsEnvelopeAead(aead.aead_key_templates.AES256_GCM, remote)
envelope_file, keyset_file, data_file = (Path(f"{name}.{kind}") for kind in ("envelope", "keyset", "data"))

if action == "write":
    envelope_file.write_bytes(envelope.encrypt(b"secret", associated))
    handle = tink.new_keyset_handle(aead.aead_key_templates.AES256_GCM)
    keyset_file.write_text(json_proto_keyset_format.serialize_encrypted(handle, remote, associated))
    data_file.write_bytes(handle.primitive(aead.Aead).encrypt(b"secret", b""))
else:
    assert envelope.decrypt(envelope_file.read_bytes(), associated) == b"secret"
    try:
        envelope.decrypt(envelope_file.read_bytes(), b"host web2")
        raise AssertionError("an envelope opened with other associated data")
    except tink.TinkError:
        pass
    handle = json_proto_keyset_format.parse_encrypted(keyset_file.read_text(), remote, associated)
    assert handle.primitive(aead.Aead).decrypt(data_file.read_bytes(), b"") == b"secret"
