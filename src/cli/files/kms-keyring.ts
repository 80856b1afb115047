/**
 * The data keys of the AWS Encryption SDK's messages, by GenerateDataKey and Decrypt over the command line's own client.
 *
 * The library has such a keyring, but only together with all others and the AWS SDK, which take three times as long to load as
 * the rest of it. Of a message's data keys those of AWS KMS are tried, in their order, until one can be opened; what the others
 * failed with matters when none can.
 *
 * Source: AWS Encryption SDK developer guide, "AWS KMS keyrings"; its specification, framework/aws-kms/aws-kms-keyring.md and
 * aws-kms-discovery-keyring.md.
 */

import {
  EncryptedDataKey,
  KeyringNode,
  KeyringTraceFlag,
  type NodeDecryptionMaterial,
  type NodeEncryptionMaterial,
} from '@aws-crypto/material-management-node';
import type { KmsClient, Members } from '../requests/kms-client.ts';

const providerId = 'aws-kms';
const { WRAPPING_KEY_GENERATED_DATA_KEY, WRAPPING_KEY_ENCRYPTED_DATA_KEY, WRAPPING_KEY_SIGNED_ENC_CTX } =
  KeyringTraceFlag;
const { WRAPPING_KEY_DECRYPTED_DATA_KEY, WRAPPING_KEY_VERIFIED_ENC_CTX } = KeyringTraceFlag;

abstract class KmsKeyring extends KeyringNode {
  readonly #client: KmsClient;
  /** Why the last call failed: the library tells in an error of its own. */
  failure: unknown;

  constructor(client: KmsClient) {
    super();
    this.#client = client;
  }

  /** Members that are `undefined` are not sent: JSON has none. */
  protected async ask(operation: string, members: Members): Promise<Members> {
    try {
      return await this.#client.call(operation, members);
    } catch (error) {
      this.failure = error;
      throw error;
    }
  }
}

class EncryptingKeyring extends KmsKeyring {
  readonly #keyId: string;

  constructor(client: KmsClient, keyId: string) {
    super(client);
    this.#keyId = keyId;
  }

  override async _onEncrypt(material: NodeEncryptionMaterial): Promise<NodeEncryptionMaterial> {
    const answer = await this.ask('GenerateDataKey', {
      KeyId: this.#keyId,
      NumberOfBytes: material.suite.keyLengthBytes,
      EncryptionContext: material.encryptionContext,
    });
    const providerInfo = String(answer['KeyId']);
    const isBound = WRAPPING_KEY_ENCRYPTED_DATA_KEY | WRAPPING_KEY_SIGNED_ENC_CTX;
    return material
      .setUnencryptedDataKey(blob(answer, 'Plaintext'), {
        keyNamespace: providerId,
        keyName: providerInfo,
        flags: WRAPPING_KEY_GENERATED_DATA_KEY | isBound,
      })
      .addEncryptedDataKey(
        new EncryptedDataKey({ providerId, providerInfo, encryptedDataKey: blob(answer, 'CiphertextBlob') }),
        isBound,
      );
  }

  override _onDecrypt(material: NodeDecryptionMaterial): Promise<NodeDecryptionMaterial> {
    return Promise.resolve(material);
  }
}

class DecryptingKeyring extends KmsKeyring {
  readonly #keyArn: string | undefined;

  constructor(client: KmsClient, keyArn: string | undefined) {
    super(client);
    this.#keyArn = keyArn;
  }

  override _onEncrypt(material: NodeEncryptionMaterial): Promise<NodeEncryptionMaterial> {
    return Promise.resolve(material);
  }

  override async _onDecrypt(
    material: NodeDecryptionMaterial,
    encryptedDataKeys: EncryptedDataKey[],
  ): Promise<NodeDecryptionMaterial> {
    for (const key of encryptedDataKeys) {
      if (key.providerId !== providerId || (this.#keyArn ?? key.providerInfo) !== key.providerInfo) continue;
      let answer: Members;
      try {
        answer = await this.ask('Decrypt', {
          KeyId: key.providerInfo,
          CiphertextBlob: Buffer.from(key.encryptedDataKey).toString('base64'),
          EncryptionContext: material.encryptionContext,
        });
      } catch {
        continue; // It is kept as `failure`; another of the data keys may open.
      }
      this.failure = undefined;
      if (answer['KeyId'] !== key.providerInfo) throw new Error('the daemon decrypted with another key than was named');
      return material.setUnencryptedDataKey(blob(answer, 'Plaintext'), {
        keyNamespace: providerId,
        keyName: key.providerInfo,
        flags: WRAPPING_KEY_DECRYPTED_DATA_KEY | WRAPPING_KEY_VERIFIED_ENC_CTX,
      });
    }
    return material;
  }
}

/** Makes a data key under the key, by whatever name it is called. */
export function encryptingKeyring(client: KmsClient, keyId: string): KmsKeyring {
  return new EncryptingKeyring(client, keyId);
}

/** @param keyArn The only key to open data keys with; any that the daemon lets this user use, if not given. */
export function decryptingKeyring(client: KmsClient, keyArn: string | undefined): KmsKeyring {
  return new DecryptingKeyring(client, keyArn);
}

/** Bytes of their own, apart from the pool that small buffers share: the library wipes them. */
function blob(answer: Members, member: string): Uint8Array {
  const shared = Buffer.from(String(answer[member]), 'base64');
  const bytes = new Uint8Array(shared);
  shared.fill(0);
  return bytes;
}
