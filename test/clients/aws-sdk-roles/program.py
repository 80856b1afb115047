"""Encrypts and decrypts under the key that it is told, as the role of AWS_PROFILE."""

import sys

import boto3
from botocore.exceptions import ClientError

kms = boto3.client("kms")
arn = boto3.client("sts").get_caller_identity()["Arn"]
assert arn == "arn:aws:sts::000000000000:assumed-role/deploy/release", arn
made = kms.encrypt(KeyId=sys.argv[1], Plaintext=b"secret")
assert kms.decrypt(CiphertextBlob=made["CiphertextBlob"])["Plaintext"] == b"secret"
try:
    kms.create_key()
    raise AssertionError("the role made a key")
except ClientError as error:
    assert error.response["Error"]["Code"] == "AccessDeniedException", error
    assert arn in error.response["Error"]["Message"], error
