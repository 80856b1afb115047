/**
 * OpenSSH certificates: what an authority's key in the HSM says about somebody's public key.
 *
 * They are no X.509: one authority signs, servers trust its key (`TrustedUserCAKeys`), clients too (`@cert-authority`).
 *
 * Source: OpenSSH, PROTOCOL.certkeys.
 */

import { randomBytes } from 'node:crypto';
import { SshReader, sshString, uint32, uint64 } from './ssh-encoding.ts';
import type { SshPublicKey } from './ssh-public-key.ts';

/** As the certificate has them. */
const certificateKinds = { user: 1, host: 2 } as const;
export type CertificateKind = keyof typeof certificateKinds;

const nonceBytes = 32;

export interface SshCertificateContent {
  readonly kind: CertificateKind;
  /** Whose it is: the key that its holder has. */
  readonly subject: SshPublicKey;
  readonly serial: bigint;
  /** What servers write to their log when it is used. */
  readonly identity: string;
  /** User names or host names that it is for. */
  readonly principals: readonly string[];
  readonly validAfter: Date;
  readonly validBefore: Date;
  /** Whoever does not know one of them refuses the certificate. */
  readonly criticalOptions: ReadonlyMap<string, string | null>;
  /** Whoever does not know one of them passes over it. `null`: it has no value. */
  readonly extensions: ReadonlyMap<string, string | null>;
}

/**
 * The certificate in the wire format.
 * @param sign Makes the authority's signature, its algorithm before it.
 */
export async function makeSshCertificate(
  content: SshCertificateContent,
  authority: SshPublicKey,
  sign: (bytes: Buffer) => Promise<Buffer>,
): Promise<Buffer> {
  const key = new SshReader(content.subject.blob);
  const signed = Buffer.concat([
    sshString(`${key.text()}-cert-v01@openssh.com`),
    sshString(randomBytes(nonceBytes)),
    key.rest(),
    uint64(content.serial),
    uint32(certificateKinds[content.kind]),
    sshString(content.identity),
    sshString(Buffer.concat(content.principals.map(sshString))),
    uint64(secondsOf(content.validAfter)),
    uint64(secondsOf(content.validBefore)),
    sshString(packed(content.criticalOptions)),
    sshString(packed(content.extensions)),
    sshString(''), // Reserved.
    sshString(authority.blob),
  ]);
  return Buffer.concat([signed, sshString(await sign(signed))]);
}

function secondsOf(time: Date): bigint {
  return BigInt(Math.floor(time.getTime() / 1000));
}

/** In the order of their names, each once, as the format wants them. */
function packed(options: ReadonlyMap<string, string | null>): Buffer {
  const entries = [...options].sort(([one], [other]) => Buffer.compare(Buffer.from(one), Buffer.from(other)));
  return Buffer.concat(
    entries.flatMap(([name, value]) => [sshString(name), sshString(value === null ? '' : sshString(value))]),
  );
}
