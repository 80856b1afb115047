"""`write ARN FILE` encrypts `plain`; `read ARN FILE` decrypts to `read` and looks at the encryption context."""

import sys

import aws_encryption_sdk

action, arn, file = sys.argv[1:]
provider = aws_encryption_sdk.StrictAwsKmsMasterKeyProvider(key_ids=[arn])
client = aws_encryption_sdk.EncryptionSDKClient()
if action == "write":
    with open("plain", "rb") as plain, open(file, "wb") as message:
        message.write(client.encrypt(source=plain, key_provider=provider, encryption_context={"host": "web1"})[0])
else:
    with open(file, "rb") as message, open("read", "wb") as read:
        plaintext, header = client.decrypt(source=message, key_provider=provider)
        assert header.encryption_context["host"] == "web1"
        read.write(plaintext)
