/**
 * `drawbridge tls create`: certificate and key for `listen.tls`, and the small authority that clients are told to trust.
 *
 * Needs no daemon. Files are made and never overwritten, keys for their owner alone; where one of them is there already, none is
 * made.
 */

import { createPrivateKey, X509Certificate } from 'node:crypto';
import { constants as fileFlags } from 'node:fs';
import { lstat, open, rm } from 'node:fs/promises';
import { isIP } from 'node:net';
import { join, resolve } from 'node:path';
import { Command } from 'commander';
import { collectValues, withJson } from '../requests/command-options.ts';
import { pem } from '../terminal/binary-output.ts';
import { UsageError } from '../terminal/cli-error.ts';
import { unwritable } from '../terminal/file-error.ts';
import { facts, note, print, printJson } from '../terminal/output.ts';
import { readSecretFile } from '../terminal/secret-file.ts';
import { wholeNumber } from '../x509/certificate-options.ts';
import { readDocument } from '../x509/pem.ts';
import type { CertifiedKey } from '../x509/tls-certificates.ts';

interface Options {
  readonly out: string;
  readonly region: string;
  readonly name?: readonly string[];
  readonly days: number;
  readonly authority?: string;
  readonly json?: true;
}

const authorityFile = 'authority.pem';
const authorityKeyFile = 'authority.key';
const serverFile = 'server.pem';
const serverKeyFile = 'server.key';

/** What some clients accept of a server at most. */
const usualDays = 825;
const authorityDays = 3650;
const dayMs = 24 * 60 * 60 * 1000;
/** Before now: for clients whose clocks are late. */
const earlierMs = 60 * 60 * 1000;
const maxKeyBytes = 16 * 1024;

export function tlsCommand(): Command {
  return new Command('tls')
    .description('certificates for the listener for HTTPS')
    .addCommand(createCommand())
    .addHelpText(
      'after',
      `
\`listen.tls\` of the configuration takes certificates of any authority; these are for those who have none.`,
    );
}

function createCommand(): Command {
  return withJson(new Command('create').description('make a small authority, and a certificate that it issues'))
    .requiredOption('--out <folder>', 'where the files are to be; made if it is not there')
    .option('--region <name>', 'for the names that AWS gives its endpoints', 'us-east-1')
    .option('--name <name>', 'another DNS name or IP address of the server; can be repeated', collectValues)
    .option('--days <count>', 'how long the certificate is valid', wholeNumber, usualDays)
    .option(
      '--authority <folder>',
      'where an authority of this command is: it issues the certificate, and none is made',
    )
    .addHelpText(
      'after',
      `
Makes ${authorityFile}, which clients are to trust (AWS_CA_BUNDLE, tlsCAFile, …), ${authorityKeyFile}, with which it issues further
certificates, and ${serverFile} and ${serverKeyFile} for the daemon. Nothing is overwritten, and keys are for their owner alone.
The certificate is for localhost, 127.0.0.1, ::1, kms.REGION.amazonaws.com and sts.REGION.amazonaws.com (for a line in
/etc/hosts, where a program takes no endpoint), and each --name. The authority can certify these, what is below them, and
nothing else; keep its key elsewhere, or remove it and make another authority when the certificate ends.

Examples:
  drawbridge tls create --out /etc/drawbridge/tls --name kms.example.org --name 192.0.2.7
  drawbridge tls create --out ./renewed --authority /etc/drawbridge/tls --name kms.example.org --json`,
    )
    .action(create);
}

async function create(options: Options): Promise<void> {
  const names = namesOf(options);
  const { makeAuthority, makeServerCertificate } = await import('../x509/tls-certificates.ts');
  const { makeFolder } = await import('../../secrets/make-folder.ts');
  const folder = resolve(options.out);
  const at = (name: string): string => join(folder, name);
  const made =
    options.authority === undefined
      ? [authorityFile, authorityKeyFile, serverFile, serverKeyFile]
      : [serverFile, serverKeyFile];
  for (const name of made) await assertAbsent(at(name));

  const from = Date.now();
  const until = (days: number) => ({ notBefore: new Date(from - earlierMs), notAfter: new Date(from + days * dayMs) });
  const authority =
    options.authority === undefined
      ? await makeAuthority(names, until(Math.max(authorityDays, options.days)))
      : await readAuthority(resolve(options.authority), names, from + options.days * dayMs);
  const server = await makeServerCertificate(authority, names, until(options.days));
  const files: readonly (readonly [string, Buffer | string, number])[] = [
    [authorityFile, pem(authority.certificate, 'CERTIFICATE'), 0o644],
    [authorityKeyFile, pem(authority.key, 'PRIVATE KEY'), 0o600],
    [serverFile, pem(server.certificate, 'CERTIFICATE'), 0o644],
    [serverKeyFile, pem(server.key, 'PRIVATE KEY'), 0o600],
  ];
  await makeFolder(folder, 0o755);
  await writeAll(
    files.filter(([name]) => made.includes(name)).map(([name, content, mode]) => ({ path: at(name), content, mode })),
  );
  authority.key.fill(0);
  server.key.fill(0);
  tell(options, { folder, names, server, authority: resolve(options.authority ?? folder, authorityFile) });
}

function namesOf({ region, name: others = [], days }: Options): readonly string[] {
  if (!/^[a-z]{2}(-[a-z]+)+-\d$/.test(region)) throw new UsageError(`\`${region}\` is no Region, such as us-east-1`);
  if (days < 1) throw new UsageError('--days is to be 1 at least');
  for (const name of others) {
    const isName =
      isIP(name) !== 0 ? !name.includes('%') : /^[A-Za-z0-9_-]{1,63}(?:\.[A-Za-z0-9_-]{1,63}){0,30}$/.test(name);
    // Addresses that have a digit too few or many look like names.
    if (!isName || (isIP(name) === 0 && /^[\d.]+$/.test(name)))
      throw new UsageError(`\`${name}\` is neither a DNS name nor an IP address`);
  }
  const own = ['localhost', '127.0.0.1', '::1', `kms.${region}.amazonaws.com`, `sts.${region}.amazonaws.com`];
  return [...new Set([...own, ...others])];
}

async function assertAbsent(path: string): Promise<void> {
  const stats = await lstat(path).catch(() => undefined); // What cannot be looked at cannot be written either, which says so.
  if (stats !== undefined)
    throw new Error(`\`${path}\` is there already, and nothing is overwritten; give another folder to --out`);
}

/** @throws Error when it could not issue the certificate, or clients would not take it. */
async function readAuthority(folder: string, names: readonly string[], notAfterMs: number): Promise<CertifiedKey> {
  const { namesOutside } = await import('../x509/name-constraints.ts');
  const path = join(folder, authorityFile);
  const certificate = await readDocument(path, 'certificate');
  const { bytes } = await readSecretFile(join(folder, authorityKeyFile), maxKeyBytes);
  try {
    const key = createPrivateKey(bytes);
    const parsed = new X509Certificate(certificate);
    if (key.asymmetricKeyDetails?.namedCurve !== 'prime256v1' || !parsed.checkPrivateKey(key))
      throw new Error(`\`${authorityKeyFile}\` in \`${folder}\` is not the key of \`${authorityFile}\``);
    if (!parsed.ca) throw new Error(`\`${path}\` is no authority's certificate`);
    if (parsed.validToDate.getTime() < notAfterMs)
      throw new Error(
        `the authority ends before the certificate would, at ${parsed.validToDate.toISOString()}; give fewer --days, or make another one`,
      );
    const outside = namesOutside(certificate, names);
    if (outside.length > 0)
      throw new Error(
        `the authority was not made for ${outside.map((name) => `\`${name}\``).join(', ')}, and clients would refuse it; make another one, with each --name`,
      );
    return { certificate, key: key.export({ format: 'der', type: 'pkcs8' }) };
  } finally {
    bytes.fill(0);
  }
}

interface NewFile {
  readonly path: string;
  readonly content: Buffer | string;
  readonly mode: number;
}

/** All or none. */
async function writeAll(files: readonly NewFile[]): Promise<void> {
  const written: string[] = [];
  try {
    for (const { path, content, mode } of files) {
      // Also not through a symbolic link that leads nowhere yet.
      await using file = await open(path, fileFlags.O_WRONLY | fileFlags.O_CREAT | fileFlags.O_EXCL, mode);
      written.push(path);
      await file.chmod(mode);
      await file.writeFile(content);
      await file.sync();
    }
  } catch (error) {
    for (const path of written) await rm(path, { force: true });
    throw unwritable((error as NodeJS.ErrnoException).path ?? '', error);
  }
}

interface Made {
  readonly folder: string;
  readonly names: readonly string[];
  readonly server: CertifiedKey;
  readonly authority: string;
}

function tell({ json }: Options, { folder, names, server, authority }: Made): void {
  const { validToDate, fingerprint256 } = new X509Certificate(server.certificate);
  const [certificate, key] = [join(folder, serverFile), join(folder, serverKeyFile)];
  const notAfter = validToDate.toISOString();
  if (json) {
    const about = { Names: names, NotAfter: notAfter, Fingerprint: fingerprint256 };
    printJson({ Authority: authority, Certificate: certificate, Key: key, ...about });
    return;
  }
  print(
    facts([
      ['for clients', authority],
      ['certificate', certificate],
      ['key', key],
      ['names', names.join(', ')],
      ['until', notAfter],
      ['SHA-256', fingerprint256],
    ]),
  );
  note(`next: in drawbridge.yaml, and the key readable for the daemon's user alone:
listen:
  tls:
    address: 127.0.0.1:4600
    certificate: { file: ${certificate} }
    key: { file: ${key} }`);
}
