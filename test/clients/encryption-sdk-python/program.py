"""Reads a message of the command line, and writes two for it."""

import sys

import aws_encryption_sdk
from aws_encryption_sdk import Algorithm, CommitmentPolicy, StrictAwsKmsMasterKeyProvider

provider = StrictAwsKmsMasterKeyProvider(key_ids=[sys.argv[1]])
committing = aws_encryption_sdk.EncryptionSDKClient()
forbidding = aws_encryption_sdk.EncryptionSDKClient(commitment_policy=CommitmentPolicy.FORBID_ENCRYPT_ALLOW_DECRYPT)

with open("ours", "rb") as ours, open("read", "wb") as read:
    plaintext, header = committing.decrypt(source=ours.read(), key_provider=provider)
    assert header.encryption_context["host"] == "web1"
    read.write(plaintext)

with open("theirs", "wb") as theirs:
    theirs.write(committing.encrypt(source=plaintext, key_provider=provider, encryption_context={"host": "web2"})[0])
with open("uncommitted", "wb") as uncommitted:
    suite = Algorithm.AES_256_GCM_IV12_TAG16_HKDF_SHA384_ECDSA_P384
    uncommitted.write(forbidding.encrypt(source=plaintext, key_provider=provider, algorithm=suite)[0])
