/**
 * The certificates that the daemon's TLS listeners show, one of a Region: read at the start and at SIGHUP, all or none of one.
 *
 * One that cannot be used keeps the daemon from starting, and at SIGHUP changes nothing. One that clients will refuse (its time is
 * over, or not yet there) is served all the same, and loudly: the Unix socket and what is connected need not suffer from it.
 */

import type { X509Certificate } from 'node:crypto';
import type { RegionConfiguration, TlsConfiguration } from '../config/configuration-schema.ts';
import { ConfigurationError } from '../config/load.ts';
import { readTlsFiles } from '../config/tls-files.ts';
import type { TlsIdentity } from '../http/tls-server.ts';
import type { Logger } from '../kms/logger.ts';

/** As `status` gives it. */
export interface CertificateDescription {
  readonly subject: string;
  readonly names: string;
  readonly notBefore: string;
  readonly notAfter: string;
  /** SHA-256 of the certificate. */
  readonly fingerprint: string;
}

export interface ServedCertificatesOptions {
  readonly regions: readonly RegionConfiguration[];
  readonly environment: NodeJS.ProcessEnv;
  readonly log: Logger;
}

interface Served {
  /** The address does not change. */
  readonly listensAt: TlsConfiguration['address'];
  certificate: X509Certificate;
  /** Until a listener has it. */
  identity: TlsIdentity | undefined;
  endpoint: string | undefined;
  useIdentity: ((identity: TlsIdentity) => void) | undefined;
}

/** What is left of a certificate's time when it is time to tell somebody. */
const warningDays = 14;
const dayMs = 24 * 60 * 60 * 1000;

export class ServedCertificates {
  readonly #options: ServedCertificatesOptions;
  readonly #served = new Map<string, Served>();
  #last: Promise<void> = Promise.resolve();

  private constructor(options: ServedCertificatesOptions) {
    this.#options = options;
  }

  /** @throws ConfigurationError, UnsafePathError when one of them cannot be used. */
  static async open(options: ServedCertificatesOptions): Promise<ServedCertificates> {
    const certificates = new ServedCertificates(options);
    for (const { region, tls } of options.regions) {
      if (tls === undefined) continue;
      const { certificate, ...identity } = await readTlsFiles(tls, options.environment);
      certificates.#warnAbout(region, certificate);
      const unused = { endpoint: undefined, useIdentity: undefined };
      certificates.#served.set(region, { listensAt: tls.address, certificate, identity, ...unused });
    }
    return certificates;
  }

  /**
   * Has the Region's listener listen with its certificate.
   * @returns `https://HOST:PORT`, or `null` where the Region has no such listener.
   */
  async listen(
    region: string,
    listenWith: (
      place: TlsConfiguration['address'] & { readonly identity: TlsIdentity },
    ) => Promise<{ readonly address: string; readonly useIdentity: ((identity: TlsIdentity) => void) | undefined }>,
  ): Promise<string | null> {
    const served = this.#served.get(region);
    if (served?.identity === undefined) return null;
    const { identity, listensAt } = served;
    served.identity = undefined;
    const { address, useIdentity } = await listenWith({ ...listensAt, identity }).catch((error: unknown) => {
      throw unusable(error);
    });
    Object.assign(served, { endpoint: address, useIdentity });
    return address;
  }

  /** Reads all of them again, at SIGHUP. Never rejects; what is wrong is in the log, and that certificate stays. */
  reload(read: (() => Promise<{ readonly regions: readonly RegionConfiguration[] }>) | undefined): Promise<void> {
    this.#last = this.#last.then(async () => {
      if (this.#served.size === 0) return;
      const regions = await this.#configured(read);
      for (const { region, tls } of regions) await this.#renew(region, tls);
    });
    return this.#last;
  }

  describe(region: string): (CertificateDescription & { readonly endpoint: string | undefined }) | null {
    const served = this.#served.get(region);
    return served === undefined ? null : { endpoint: served.endpoint, ...describe(served.certificate) };
  }

  /** Nothing of a key that no listener took is left. */
  close(): void {
    for (const { identity } of this.#served.values()) identity?.privateKey.wipe();
  }

  /** As it is written now; where that cannot be used, the files that were named before may still have new content. */
  async #configured(
    read: (() => Promise<{ readonly regions: readonly RegionConfiguration[] }>) | undefined,
  ): Promise<readonly RegionConfiguration[]> {
    try {
      return read === undefined ? this.#options.regions : (await read()).regions;
    } catch (error) {
      const problem = messageOf(error);
      this.#options.log.error(
        { problem },
        'the configuration cannot be used; certificates are read from where they were',
      );
      return this.#options.regions;
    }
  }

  async #renew(region: string, tls: TlsConfiguration | undefined): Promise<void> {
    const { log, environment } = this.#options;
    const served = this.#served.get(region);
    if (served?.useIdentity === undefined || tls === undefined) {
      if (served !== undefined || tls !== undefined)
        log.warn({ region }, '`listen.tls` is turned on or off by a restart');
      return;
    }
    const { host, port } = served.listensAt;
    if (tls.address.host !== host || tls.address.port !== port)
      log.warn({ region }, 'the address of `listen.tls` is changed by a restart');
    try {
      const { certificate, ...identity } = await readTlsFiles(tls, environment);
      served.useIdentity(identity);
      served.certificate = certificate;
      log.info({ region, ...describe(certificate) }, 'new connections get the certificate that was read again');
      this.#warnAbout(region, certificate);
    } catch (error) {
      const problem = messageOf(unusable(error));
      log.error({ region, problem }, 'the certificate of `listen.tls` cannot be used; the former one stays');
    }
  }

  #warnAbout(region: string, certificate: X509Certificate): void {
    const { log } = this.#options;
    const about = { region, ...describe(certificate) };
    const leftMs = certificate.validToDate.getTime() - Date.now();
    if (leftMs <= 0) log.error(about, 'the certificate of `listen.tls` has expired: clients refuse it');
    else if (leftMs < warningDays * dayMs) log.warn(about, 'the certificate of `listen.tls` expires soon');
    if (certificate.validFromDate.getTime() > Date.now())
      log.error(about, 'the certificate of `listen.tls` is not valid yet: clients refuse it');
    if (certificate.subjectAltName === undefined)
      log.error(about, 'the certificate of `listen.tls` names no host as an alternative name: clients refuse it');
  }
}

function describe(certificate: X509Certificate): CertificateDescription {
  return {
    subject: certificate.subject?.replaceAll('\n', ', ') ?? '',
    names: certificate.subjectAltName ?? '',
    notBefore: certificate.validFromDate.toISOString(),
    notAfter: certificate.validToDate.toISOString(),
    fingerprint: certificate.fingerprint256,
  };
}

/** What OpenSSL says about a certificate or key that it does not take begins with its file and line. */
function unusable(error: unknown): unknown {
  const { code = '', reason } = error as NodeJS.ErrnoException & { readonly reason?: string };
  if (!code.startsWith('ERR_SSL_') && !code.startsWith('ERR_OSSL_')) return error;
  const why = reason ?? code;
  return new ConfigurationError(`OpenSSL does not take the certificate or the key of \`listen.tls\`: ${why}`, {
    cause: error,
  });
}

function messageOf(error: unknown): string {
  return String(error instanceof Error ? error.message : error);
}
