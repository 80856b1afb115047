"""Makes required-context.json with the AWS Encryption SDK for Python and its library of material providers."""

import base64
import json

import aws_encryption_sdk
from aws_cryptographic_material_providers.mpl import AwsCryptographicMaterialProviders
from aws_cryptographic_material_providers.mpl.config import MaterialProvidersConfig
from aws_cryptographic_material_providers.mpl.models import (
    AesWrappingAlg,
    CreateDefaultCryptographicMaterialsManagerInput,
    CreateRawAesKeyringInput,
    CreateRequiredEncryptionContextCMMInput,
)
from aws_encryption_sdk import Algorithm, CommitmentPolicy

providers = AwsCryptographicMaterialProviders(config=MaterialProvidersConfig())
key = bytes(range(32))
required = ["tenant", "Ünï"]
context = {"stored": "in the header", "tenant": "alice", "Ünï": "☂"}
keyring = providers.create_raw_aes_keyring(
    input=CreateRawAesKeyringInput(
        key_namespace="example",
        key_name="vector",
        wrapping_key=key,
        wrapping_alg=AesWrappingAlg.ALG_AES256_GCM_IV12_TAG16,
    )
)
manager = providers.create_required_encryption_context_cmm(
    input=CreateRequiredEncryptionContextCMMInput(
        required_encryption_context_keys=required,
        underlying_cmm=providers.create_default_cryptographic_materials_manager(
            input=CreateDefaultCryptographicMaterialsManagerInput(keyring=keyring)
        ),
    )
)

lines = 2000
text = b"".join(b"%06d\n" % line for line in range(lines))
committing = CommitmentPolicy.REQUIRE_ENCRYPT_REQUIRE_DECRYPT
others = CommitmentPolicy.FORBID_ENCRYPT_ALLOW_DECRYPT
suites = {
    "signed, with commitment": (Algorithm.AES_256_GCM_HKDF_SHA512_COMMIT_KEY_ECDSA_P384, committing),
    "with commitment": (Algorithm.AES_256_GCM_HKDF_SHA512_COMMIT_KEY, committing),
    "signed, without commitment": (Algorithm.AES_256_GCM_IV12_TAG16_HKDF_SHA384_ECDSA_P384, others),
    "without commitment": (Algorithm.AES_256_GCM_IV12_TAG16_HKDF_SHA256, others),
}
messages = {}
for name, (suite, policy) in suites.items():
    client = aws_encryption_sdk.EncryptionSDKClient(commitment_policy=policy)
    message, _ = client.encrypt(
        source=text, materials_manager=manager, encryption_context=context, algorithm=suite, frame_length=4096
    )
    again, _ = client.decrypt(
        source=message, materials_manager=manager, encryption_context={name: context[name] for name in required}
    )
    assert again == text
    messages[name] = base64.b64encode(message).decode()

vectors = {
    "wrappingKey": base64.b64encode(key).decode(),
    "keyNamespace": "example",
    "keyName": "vector",
    "encryptionContext": context,
    "required": required,
    "plaintextLines": lines,
    "messages": messages,
}
with open("required-context.json", "w") as file:
    file.write(json.dumps(vectors, ensure_ascii=False, indent=2) + "\n")
