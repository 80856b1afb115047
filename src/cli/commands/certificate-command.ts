/**
 * `drawbridge certificate`: an X.509 certificate, self-signed or issued by an authority, signed by a key in the HSM; with --ssh one
 * of OpenSSH's.
 *
 * An authority's certificate is checked before its key signs: that it is the key's, that it may issue what is asked for,
 * and that it does not end before what it issues. Of a request only the subject, the key and the alternative names are
 * taken; what a certificate may be used for is its issuer's to say, never the requester's.
 */

import type { SubjectPublicKeyInfo } from '@peculiar/asn1-x509';
import { Command, InvalidArgumentError } from 'commander';
import { connectTo, type SocketOptions, withSocket } from '../requests/command-options.ts';
import type { KmsClient } from '../requests/kms-client.ts';
import { type SshOptions, sshContentOf, sshOnly, withSsh } from '../ssh/ssh-certificate-options.ts';
import { assertFitsOutput, pem, writeWhole } from '../terminal/binary-output.ts';
import { UsageError } from '../terminal/cli-error.ts';
import { type ProfileOptions, profileOf, wholeNumber, withProfile } from '../x509/certificate-options.ts';
import { readDocument } from '../x509/pem.ts';
import type { ReadRequest } from '../x509/request.ts';
import type { Signer } from '../x509/signer.ts';
import type { CertificateContent, IssuerCertificate } from '../x509/x509-certificate.ts';

const usualDays = 365;
/** A user's key lies on a disk, and servers ask nobody whether a certificate was revoked. */
const usualSshUserDays = 1;
const hourMs = 60 * 60 * 1000;
const dayMs = 24 * hourMs;
/** Clocks of servers may be that late; `ssh-keygen` starts as early. */
const sshLeadMs = 60 * 1000;
/** RFC 5280 4.1.2.5: the last moment that a certificate can name. */
const endOfTime = Date.UTC(9999, 11, 31, 23, 59, 59);

interface Options extends SocketOptions, ProfileOptions, SshOptions {
  readonly key?: string;
  readonly request?: string;
  readonly subject?: string;
  readonly issuerKey?: string;
  readonly issuer?: string;
  readonly algorithm?: string;
  readonly days?: number;
  readonly notBefore?: Date;
  readonly der?: true;
  readonly out?: string;
}

export function certificateCommand(): Command {
  const command = withProfile(
    withSocket(new Command('certificate').description('issue an X.509 or OpenSSH certificate that the HSM signs'))
      .option('--key <key>', 'the key that it is for; alone, the certificate is self-signed')
      .option('--request <file>', 'instead: the request (PKCS#10) of whoever it is for; with --ssh a .pub file')
      .option('--subject <name>', "whom it is for: CN=www.example.org,O=Example,C=AT; a request's own if not given")
      .option('--issuer <file>', "the authority's certificate")
      .option('--issuer-key <key>', "the authority's key")
      .option('--algorithm <algorithm>', "the signing algorithm; without it, the signing key's first")
      .option(
        '--days <count>',
        `how long it is valid (default: ${usualDays}; of an SSH user ${usualSshUserDays})`,
        wholeNumber,
      )
      .option('--not-before <time>', 'from when on, such as 2030-01-31T00:00:00Z; now if not given', pointInTime),
  );
  return withSsh(command)
    .option('--der', 'DER instead of PEM')
    .option('--out <file>', 'where to; without it, stdout')
    .addHelpText(
      'after',
      `
The subject is written as in RFC 4514, the most specific part first. Of a request the subject, the key and the
alternative names are taken; --ca and the usages are as they are given here.

With --ssh, give --issuer-key, --principal, and --key or --request. A user's certificate allows what ssh-keygen's does:
--option clear takes everything away, --option no-pty one thing; force-command=COMMAND and source-address=LIST restrict it.
Servers trust the authority by TrustedUserCAKeys, clients by a line @cert-authority in known_hosts.

Examples:
  drawbridge certificate --key alias/ca --ca --subject 'CN=Example CA,O=Example' --days 3650 --out ca.pem
  drawbridge certificate --issuer ca.pem --issuer-key alias/ca --request www.csr --extended-key-usage serverAuth
  drawbridge certificate --key alias/www --subject CN=www --san DNS:www.example.org --out self-signed.pem
  drawbridge certificate --ssh user --issuer-key alias/ssh-ca --request id_ed25519.pub --principal alice --hours 8
  drawbridge certificate --ssh host --issuer-key alias/ssh-ca --key alias/ssh/host --principal web1 --out host-cert.pub`,
    )
    .action((options: Options) => (options.ssh === undefined ? certificate(options) : sshCertificate(options)));
}

async function certificate(options: Options): Promise<void> {
  refuseOptions(options, sshOnly, 'goes with --ssh alone');
  const { key, request: requestFile, issuer: issuerFile, issuerKey } = options;
  if ((key === undefined) === (requestFile === undefined)) throw new UsageError('give --key or --request');
  if ((issuerFile === undefined) !== (issuerKey === undefined))
    throw new UsageError('--issuer and --issuer-key go together');
  const signingKey = issuerKey ?? key;
  if (signingKey === undefined) throw new UsageError('a request is for another key: give --issuer and --issuer-key');
  assertFitsOutput(options.out, options.der === undefined, 'PEM (without --der)');
  const { makeCertificate } = await import('../x509/x509-certificate.ts');
  const { parseDistinguishedName } = await import('../x509/distinguished-name.ts');
  const { signerFor } = await import('../x509/signer.ts');

  const request = requestFile === undefined ? undefined : await readRequestFile(requestFile);
  const subject =
    request === undefined || options.subject !== undefined
      ? parseDistinguishedName(options.subject ?? '')
      : request.subject;
  const profile = await profileOf(options, subject, request?.alternativeNames);
  const issuer = issuerFile === undefined ? undefined : await readIssuerFile(issuerFile);
  const client = await connectTo(options);
  const signer = await signerFor(client, signingKey, options.algorithm);
  const content: CertificateContent = {
    subject,
    subjectKey: request?.publicKey ?? (await subjectKey(client, key, signer, issuer !== undefined)),
    ...validity(options),
    profile,
  };
  if (issuer !== undefined) assertMayIssue(issuer, content, signer);
  const der = await makeCertificate(content, signer, issuer);
  await writeWhole(options.out, options.der ? der : pem(der, 'CERTIFICATE'));
}

/** Those that mean nothing to OpenSSH. */
const x509Only = [
  'subject',
  'issuer',
  'algorithm',
  'der',
  'san',
  'ca',
  'pathLength',
  'keyUsage',
  'extendedKeyUsage',
] as const satisfies (keyof Options)[];

async function sshCertificate(options: Options): Promise<void> {
  const { ssh: kind, key, request: file, issuerKey, hours, days } = options;
  if (kind === undefined) return;
  refuseOptions(options, x509Only, 'does not go with --ssh');
  if (issuerKey === undefined) throw new UsageError("give --issuer-key, the authority's key");
  if (hours !== undefined && days !== undefined) throw new UsageError('give --hours or --days');
  if ((key === undefined) === (file === undefined)) throw new UsageError('give --key, or --request with a .pub file');
  const subject = key === undefined ? { file: file ?? '' } : { key };
  const { issueSshCertificate } = await import('../ssh/issue-ssh-certificate.ts');
  const validAfter = options.notBefore ?? new Date(Date.now() - sshLeadMs);
  const lengthMs =
    hours === undefined ? (days ?? (kind === 'user' ? usualSshUserDays : usualDays)) * dayMs : hours * hourMs;
  const validBefore = new Date((options.notBefore?.getTime() ?? Date.now()) + lengthMs);
  const content = { kind, validAfter, validBefore, ...sshContentOf(kind, options) };
  const line = await issueSshCertificate(await connectTo(options), { issuerKey, subject, content });
  await writeWhole(options.out, Buffer.from(line));
}

function refuseOptions(options: Options, names: readonly (keyof Options)[], why: string): void {
  const given = names.find((name) => options[name] !== undefined);
  if (given === undefined) return;
  throw new UsageError(`--${given.replaceAll(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)} ${why}`);
}

async function readRequestFile(path: string): Promise<ReadRequest> {
  const { readRequest } = await import('../x509/request.ts');
  return about(path, await readDocument(path, 'request'), readRequest);
}

async function readIssuerFile(path: string): Promise<IssuerCertificate> {
  const { readIssuer } = await import('../x509/x509-certificate.ts');
  return about(path, await readDocument(path, 'certificate'), readIssuer);
}

function about<Value>(path: string, der: Buffer, read: (der: Buffer) => Value): Value {
  try {
    return read(der);
  } catch (error) {
    throw new Error(`cannot use \`${path}\`: ${error instanceof Error ? error.message : error}`, { cause: error });
  }
}

async function subjectKey(
  client: KmsClient,
  key: string | undefined,
  signer: Signer,
  isIssued: boolean,
): Promise<SubjectPublicKeyInfo> {
  const { AsnParser } = await import('@peculiar/asn1-schema');
  const { SubjectPublicKeyInfo } = await import('@peculiar/asn1-x509');
  if (!isIssued) return AsnParser.parse(signer.publicKey, SubjectPublicKeyInfo);
  const { PublicKey } = await client.call('GetPublicKey', { KeyId: key });
  return AsnParser.parse(Buffer.from(String(PublicKey), 'base64'), SubjectPublicKeyInfo);
}

function validity({ notBefore = new Date(), days = usualDays }: Options): { notBefore: Date; notAfter: Date } {
  const end = notBefore.getTime() + days * dayMs;
  if (days === 0 || end > endOfTime)
    throw new UsageError('--days is to end after it begins, and before the year 10000');
  return { notBefore, notAfter: new Date(end) };
}

/** @throws Error for what whoever verifies the chain would refuse. */
function assertMayIssue(issuer: IssuerCertificate, { notAfter, profile }: CertificateContent, signer: Signer): void {
  if (!issuer.publicKey.equals(signer.publicKey))
    throw new Error("the issuer's certificate is not about the issuer's key");
  if (!issuer.isAuthority) throw new Error("the issuer's certificate is not an authority's: it was made without --ca");
  if (!issuer.mayCertify)
    throw new Error("the issuer's key may not sign certificates: its key usage lacks keyCertSign");
  if (profile.isAuthority && issuer.pathLength === 0) throw new Error('no authority may follow below the issuer');
  if (notAfter > issuer.notAfter) {
    throw new Error(
      `the issuer's certificate ends before this one would, at ${issuer.notAfter.toISOString()}; give fewer --days`,
    );
  }
}

function pointInTime(text: string): Date {
  const time = new Date(text);
  const isComplete = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z$/.test(text);
  if (!isComplete || Number.isNaN(time.getTime()))
    throw new InvalidArgumentError('expected a time in UTC, 2030-01-31T00:00:00Z.');
  return time;
}
