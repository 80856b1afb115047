"""libmongocrypt as MongoDB's drivers use it. The key vault is a list here; all that goes to KMS is libmongocrypt's, over TLS."""

import json
import os
import socket
import ssl
import subprocess
import sys
from urllib.parse import urlsplit

import bson
from pymongocrypt.errors import MongoCryptError
from pymongocrypt.options import MongoCryptOptions
from pymongocrypt.synchronous.explicit_encrypter import ExplicitEncrypter
from pymongocrypt.synchronous.state_machine import MongoCryptCallback

endpoint = urlsplit(os.environ["DRAWBRIDGE_TLS_ENDPOINT"]).netloc
trusted = ssl.create_default_context(cafile=os.environ["DRAWBRIDGE_TLS_AUTHORITY"])


class Driver(MongoCryptCallback):
    """What a driver does for libmongocrypt."""

    def __init__(self, vault):
        self.vault = vault

    def kms_request(self, kms_context):
        host, port = kms_context.endpoint.split(":")
        with socket.create_connection((host, int(port))) as plain, trusted.wrap_socket(plain, server_hostname=host) as wire:
            wire.sendall(kms_context.message)
            while kms_context.bytes_needed > 0:
                kms_context.feed(wire.recv(kms_context.bytes_needed))

    def fetch_keys(self, filter):
        return [bson.encode(key) for key in self.vault]

    def insert_data_key(self, data_key):
        self.vault.append(bson.decode(data_key))
        return self.vault[-1]["_id"]

    def bson_encode(self, doc):
        return bson.encode(doc)

    def collection_info(self, database, filter):
        raise NotImplementedError

    def mark_command(self, database, cmd):
        raise NotImplementedError

    def close(self):
        pass


def opened(credentials, vault):
    return ExplicitEncrypter(Driver(vault), MongoCryptOptions({"aws": credentials}))


def master_key(arn):
    return {"region": "us-east-1", "key": arn, "endpoint": endpoint}


first, second = sys.argv[1:]
issued = json.loads(subprocess.check_output(["drawbridge", "credentials"]))
lasting = {name: os.environ[f"AWS_{variable}"] for name, variable in (("accessKeyId", "ACCESS_KEY_ID"), ("secretAccessKey", "SECRET_ACCESS_KEY"))}
of_session = {"accessKeyId": issued["AccessKeyId"], "secretAccessKey": issued["SecretAccessKey"], "sessionToken": issued["SessionToken"]}
value = bson.encode({"v": "123-45-6789"})

for credentials in (lasting, of_session):
    vault = []
    encrypter = opened(credentials, vault)
    key_id = bytes(encrypter.create_data_key("aws", master_key(first), ["people"]))
    encrypted = encrypter.encrypt(value, "AEAD_AES_256_CBC_HMAC_SHA_512-Deterministic", key_id=key_id)
    assert bson.decode(encrypted)["v"].subtype == 6 and b"123-45" not in encrypted
    encrypter.close()

    # Another process has the key vault and asks KMS for the data key.
    reader = opened(credentials, vault)
    assert reader.decrypt(encrypted) == value
    moved = bson.decode(reader.rewrap_many_data_key({}, "aws", master_key(second)))["v"]
    reader.close()
    (rewrapped,) = [{**vault[0], "keyMaterial": each["keyMaterial"], "masterKey": each["masterKey"]} for each in moved]
    assert rewrapped["masterKey"]["key"] == second
    reader = opened(credentials, [rewrapped])
    assert reader.decrypt(encrypted) == value
    reader.close()

changed = {**vault[0], "keyMaterial": bytes([vault[0]["keyMaterial"][0] ^ 1]) + vault[0]["keyMaterial"][1:]}
reader = opened(lasting, [changed])
try:
    reader.decrypt(encrypted)
    raise AssertionError("a data key that was changed was decrypted")
except MongoCryptError:
    pass
