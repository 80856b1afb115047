//! What a program does with AWS KMS by the SDK for Rust, with no settings but those of AWS_PROFILE.

use aws_sdk_kms::error::ProvideErrorMetadata;
use aws_sdk_kms::primitives::Blob;
use aws_sdk_kms::types::{KeySpec, KeyUsageType, SigningAlgorithmSpec};
use std::error::Error;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let settings = aws_config::load_from_env().await;
    let kms = aws_sdk_kms::Client::new(&settings);

    let key = kms.create_key().send().await?.key_metadata.ok_or("no key")?;
    let made = kms
        .encrypt()
        .key_id(key.key_id())
        .plaintext(Blob::new("secret"))
        .encryption_context("host", "web1")
        .send()
        .await?;
    let blob = made.ciphertext_blob.ok_or("no ciphertext")?;
    let opened = kms.decrypt().ciphertext_blob(blob.clone()).encryption_context("host", "web1").send().await?;
    assert_eq!(opened.plaintext(), Some(&Blob::new("secret")));
    assert_eq!(opened.key_id(), key.arn());
    let refusal = kms.decrypt().ciphertext_blob(blob).send().await.unwrap_err().into_service_error();
    assert!(refusal.is_invalid_ciphertext_exception(), "without its encryption context: {refusal:?}");
    assert_eq!(refusal.code(), Some("InvalidCiphertextException"));

    let pair = kms.create_key().key_spec(KeySpec::EccNistP384).key_usage(KeyUsageType::SignVerify).send().await?;
    let pair = pair.key_metadata.ok_or("no key")?;
    let algorithm = SigningAlgorithmSpec::EcdsaSha384;
    let signed = kms
        .sign()
        .key_id(pair.key_id())
        .message(Blob::new("text"))
        .signing_algorithm(algorithm.clone())
        .send()
        .await?;
    let verified = kms
        .verify()
        .key_id(pair.key_id())
        .message(Blob::new("text"))
        .signing_algorithm(algorithm)
        .signature(signed.signature.ok_or("no signature")?)
        .send()
        .await?;
    assert!(verified.signature_valid());

    let mut pages = kms.list_keys().into_paginator().page_size(1).items().send();
    let mut listed = Vec::new();
    while let Some(entry) = pages.next().await {
        listed.push(entry?.key_id.ok_or("no key")?);
    }
    assert!(listed.iter().any(|id| id == key.key_id()) && listed.iter().any(|id| id == pair.key_id()));

    let caller = aws_sdk_sts::Client::new(&settings).get_caller_identity().send().await?;
    assert_eq!(caller.arn(), Some("arn:aws:iam::000000000000:root"));
    Ok(())
}
