/**
 * The AWS managed keys that the configuration asks for: made at the start and at SIGHUP, each on record as what the daemon did of
 * its own accord, and each by itself, so that one which cannot be made keeps nobody from anything else.
 *
 * A service that the configuration does not name any more keeps its key, which nobody can use then but by the grants that the
 * service made and nobody revoked: what was encrypted with it can be decrypted as soon as the service is named again.
 */

import type { AuditLog } from '../audit/audit-log.ts';
import { managedKeyPolicy } from '../authorization/managed-key-policy.ts';
import type { RegionConfiguration } from '../config/configuration-schema.ts';
import { makeManagedKey } from '../keys/life/new-managed-key.ts';
import type { Logger } from '../kms/logger.ts';
import { keyArn, managedAliasName } from '../kms/names.ts';
import type { Intents } from '../pipeline/intents.ts';
import { assertRecordable } from '../pipeline/recordable.ts';
import { whenVerified } from '../store/record-source.ts';
import type { Turns } from '../store/turns.ts';
import type { OpenRegion } from './region.ts';

export interface ManagedKeysOptions {
  readonly regions: readonly OpenRegion[];
  readonly turns: Turns;
  readonly audit: Pick<AuditLog, 'append'>;
  readonly intents: Pick<Intents, 'obstacle'>;
  readonly log: Logger;
}

/** By name of the Region; what is missing has no services. */
export type ManagedKeysConfiguration = readonly Pick<RegionConfiguration, 'region' | 'managedKeys'>[];

export class ManagedKeys {
  readonly #options: ManagedKeysOptions;
  #last: Promise<void> = Promise.resolve();
  #isStopping = false;

  constructor(options: ManagedKeysOptions) {
    this.#options = options;
  }

  /**
   * Lets the services be those of the configuration, and makes the keys that they lack. One call after the other. Never rejects:
   * what could not be made is in the log, and tried again by the next call.
   */
  use(configuration: ManagedKeysConfiguration): Promise<void> {
    this.#last = this.#last.then(() => this.#use(configuration));
    return this.#last;
  }

  /**
   * The same with a configuration that is read when it is its turn, at SIGHUP. Where it cannot be used, the services stay who
   * they are; whatever it says beside them takes a restart.
   */
  reload(read: () => Promise<{ readonly regions: ManagedKeysConfiguration }>): Promise<void> {
    const { log } = this.#options;
    this.#last = this.#last.then(async () => {
      try {
        await this.#use((await read()).regions);
        log.info({}, 'the AWS managed keys of the configuration were read again');
      } catch (error) {
        const problem = String(error instanceof Error ? error.message : error);
        log.error({ problem }, 'the configuration cannot be used; the AWS managed keys stay as they are');
      }
    });
    return this.#last;
  }

  /** Waits for the key that is being made, and makes no other. */
  stop(): Promise<void> {
    this.#isStopping = true;
    return this.#last;
  }

  async #use(configuration: ManagedKeysConfiguration): Promise<void> {
    for (const region of this.#options.regions) {
      const { directory } = region;
      const services = configuration.find((each) => each.region === directory.realm.region)?.managedKeys ?? new Map();
      directory.services.replace(services);
      for (const service of services.keys()) if (!this.#isStopping) await this.#make(service, region);
    }
  }

  async #make(service: string, { directory, life }: OpenRegion): Promise<void> {
    const { turns, audit, intents, log } = this.#options;
    const { realm } = directory;
    const about = { region: realm.region, alias: managedAliasName(service) };
    try {
      if ((await whenVerified(() => directory.aliases.find(about.alias))) !== undefined) return;
      assertRecordable(intents);
      const policy = managedKeyPolicy(realm, service);
      const keyId = await makeManagedKey({ service, policy }, { directory, life, turns });
      if (keyId === undefined) return;
      log.info({ ...about, keyId }, 'made an AWS managed key');
      await audit.append(
        {
          eventAtMs: Date.now(),
          eventName: 'CreateKey',
          awsRegion: realm.region,
          accountId: realm.account,
          resources: [keyArn(realm, keyId)],
          serviceEventDetails: { keyId, aliasName: about.alias, keyManager: 'AWS' },
        },
        'synced',
      );
    } catch (error) {
      log.error(
        { ...about, err: error },
        'an AWS managed key could not be made or put on record; what is missing is made at the next start or SIGHUP',
      );
    }
  }
}
