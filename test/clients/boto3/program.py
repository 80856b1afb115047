"""What a program does with AWS KMS by boto3."""

import boto3
from botocore.exceptions import ClientError

kms = boto3.client("kms")

key = kms.create_key(Description="boto3", Tags=[{"TagKey": "made", "TagValue": "by boto3"}])["KeyMetadata"]
kms.create_alias(AliasName="alias/boto3", TargetKeyId=key["KeyId"])
assert kms.describe_key(KeyId="alias/boto3")["KeyMetadata"]["Arn"] == key["Arn"]

context = {"host": "web1"}
made = kms.encrypt(KeyId="alias/boto3", Plaintext=b"secret", EncryptionContext=context)
opened = kms.decrypt(CiphertextBlob=made["CiphertextBlob"], EncryptionContext=context)
assert opened["Plaintext"] == b"secret" and opened["KeyId"] == key["Arn"]
try:
    kms.decrypt(CiphertextBlob=made["CiphertextBlob"])
    raise AssertionError("a ciphertext opened without its encryption context")
except kms.exceptions.InvalidCiphertextException:
    pass

other = kms.create_key()["KeyMetadata"]
moved = kms.re_encrypt(
    CiphertextBlob=made["CiphertextBlob"], SourceEncryptionContext=context, DestinationKeyId=other["KeyId"]
)
assert kms.decrypt(CiphertextBlob=moved["CiphertextBlob"])["Plaintext"] == b"secret"

data_key = kms.generate_data_key(KeyId=key["KeyId"], KeySpec="AES_256")
assert len(data_key["Plaintext"]) == 32
assert kms.decrypt(CiphertextBlob=data_key["CiphertextBlob"])["Plaintext"] == data_key["Plaintext"]

pair = kms.create_key(KeySpec="ECC_NIST_P256", KeyUsage="SIGN_VERIFY")["KeyMetadata"]
algorithm = {"KeyId": pair["KeyId"], "SigningAlgorithm": "ECDSA_SHA_256"}
signature = kms.sign(Message=b"text", **algorithm)["Signature"]
assert kms.verify(Message=b"text", Signature=signature, **algorithm)["SignatureValid"]
try:
    kms.verify(Message=b"other text", Signature=signature, **algorithm)
    raise AssertionError("a signature of another text was verified")
except kms.exceptions.KMSInvalidSignatureException:
    pass

mac_key = kms.create_key(KeySpec="HMAC_256", KeyUsage="GENERATE_VERIFY_MAC")["KeyMetadata"]
mac_of = {"KeyId": mac_key["KeyId"], "Message": b"text", "MacAlgorithm": "HMAC_SHA_256"}
assert kms.verify_mac(Mac=kms.generate_mac(**mac_of)["Mac"], **mac_of)["MacValid"]

grant = kms.create_grant(KeyId=key["KeyId"], GranteePrincipal=key["Arn"].replace(":kms:us-east-1:", ":iam::").split(":key/")[0] + ":user/app", Operations=["Decrypt"])
assert [each["GrantId"] for each in kms.list_grants(KeyId=key["KeyId"])["Grants"]] == [grant["GrantId"]]
kms.revoke_grant(KeyId=key["KeyId"], GrantId=grant["GrantId"])

kms.tag_resource(KeyId=key["KeyId"], Tags=[{"TagKey": "more", "TagValue": "of it"}])
tags = {each["TagKey"]: each["TagValue"] for each in kms.list_resource_tags(KeyId=key["KeyId"])["Tags"]}
assert tags == {"made": "by boto3", "more": "of it"}

kms.rotate_key_on_demand(KeyId=key["KeyId"])
assert kms.decrypt(CiphertextBlob=made["CiphertextBlob"], EncryptionContext=context)["Plaintext"] == b"secret"

pages = kms.get_paginator("list_keys").paginate(PaginationConfig={"PageSize": 2})
assert {each["KeyId"] for page in pages for each in page["Keys"]} == {
    each["KeyId"] for each in (key, other, pair, mac_key)
}

kms.schedule_key_deletion(KeyId=other["KeyId"], PendingWindowInDays=7)
try:
    kms.encrypt(KeyId=other["KeyId"], Plaintext=b"secret")
    raise AssertionError("a key that waits for its deletion was used")
except ClientError as error:
    assert error.response["Error"]["Code"] == "KMSInvalidStateException", error
print("done")
