"""Reads a message of the command line, and writes three for it."""

import sys

import aws_encryption_sdk
import boto3
from aws_cryptographic_material_providers.mpl import AwsCryptographicMaterialProviders
from aws_cryptographic_material_providers.mpl.config import MaterialProvidersConfig
from aws_cryptographic_material_providers.mpl.models import (
    CreateAwsKmsKeyringInput,
    CreateDefaultCryptographicMaterialsManagerInput,
    CreateRequiredEncryptionContextCMMInput,
)
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

providers = AwsCryptographicMaterialProviders(config=MaterialProvidersConfig())
keyring = providers.create_aws_kms_keyring(input=CreateAwsKmsKeyringInput(kms_key_id=sys.argv[1], kms_client=boto3.client("kms")))
manager = providers.create_required_encryption_context_cmm(
    input=CreateRequiredEncryptionContextCMMInput(
        required_encryption_context_keys=["tenant"],
        underlying_cmm=providers.create_default_cryptographic_materials_manager(
            input=CreateDefaultCryptographicMaterialsManagerInput(keyring=keyring)
        ),
    )
)
with open("required", "wb") as required:
    context = {"tenant": "alice", "host": "web3"}
    required.write(committing.encrypt(source=plaintext, materials_manager=manager, encryption_context=context)[0])
