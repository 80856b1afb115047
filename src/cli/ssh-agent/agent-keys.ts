/**
 * Which keys of the HSM an agent offers: those that were named, those of a pattern of aliases, those with a tag.
 *
 * They are looked up whenever somebody asks, so that a key that is made, disabled or taken away counts at once. What may not
 * be looked at is left out, with the reason in the log. A signature is made with the key whose public half was shown, by its
 * ARN: an alias may have moved on meanwhile.
 */

import { tagsOf } from '../requests/key-facts.ts';
import { isAlias } from '../requests/key-names.ts';
import type { KmsClient } from '../requests/kms-client.ts';
import { type SshPublicKey, sshKeyOfSpki } from '../ssh/ssh-public-key.ts';
import { ApiError, describeError } from '../terminal/cli-error.ts';

/** Servers let a client try six keys (`MaxAuthTries`), so many more are of no use to anybody. */
const maxKeys = 64;

export interface AgentKey extends SshPublicKey {
  readonly keyArn: string;
  /** The alias or the key id by which it was found. */
  readonly comment: string;
}

export interface KeyChoice {
  /** Key ids, ARNs and aliases; an alias with `*` at its end stands for all that begin so. */
  readonly names: readonly string[];
  /** A key that has one of them is offered. */
  readonly tags: Readonly<Record<string, string>>;
}

export class AgentKeys {
  readonly #client: KmsClient;
  readonly #choice: KeyChoice;
  readonly #say: (text: string) => void;
  /** Of the last look-up, by the blob in base64. */
  #known = new Map<string, AgentKey>();
  /** What was said last, which is not said again for each look-up. */
  #said = '';

  constructor(client: KmsClient, choice: KeyChoice, say: (text: string) => void) {
    this.#client = client;
    this.#choice = choice;
    this.#say = say;
  }

  /** All that can be used now, each once, in the order in which they were named. */
  async list(): Promise<readonly AgentKey[]> {
    const complaints: string[] = [];
    const complain: Complain = (about, error) => void complaints.push(`${about}: ${reasonOf(error)}`);
    const found = new Map<string, AgentKey>();
    for (const name of await this.#names(complain)) {
      if (found.size >= maxKeys) {
        complaints.push(`there are more keys than the ${maxKeys} that are offered; name those that are needed`);
        break;
      }
      try {
        const key = await this.#key(name);
        if (key !== undefined && !found.has(key.blob.toString('base64'))) found.set(key.blob.toString('base64'), key);
      } catch (error) {
        complain(name, error);
      }
    }
    const said = complaints.join('\n');
    if (said !== '' && said !== this.#said) this.#say(said);
    this.#said = said;
    this.#known = found;
    return [...found.values()];
  }

  /** @param blob Of a public key. */
  async find(blob: Buffer): Promise<AgentKey | undefined> {
    const name = blob.toString('base64');
    if (!this.#known.has(name)) await this.list();
    return this.#known.get(name);
  }

  async #names(complain: Complain): Promise<ReadonlySet<string>> {
    const names = new Set<string>();
    const add = async (what: string, found: () => Promise<readonly string[]>): Promise<void> => {
      try {
        for (const name of await found()) names.add(name);
      } catch (error) {
        complain(what, error);
      }
    };
    for (const name of this.#choice.names)
      await add(name, async () => (name.endsWith('*') ? this.#aliases(name) : [name]));
    if (Object.keys(this.#choice.tags).length > 0) await add('keys by their tags', () => this.#tagged());
    return names;
  }

  async #aliases(pattern: string): Promise<readonly string[]> {
    const prefix = pattern.slice(0, -1);
    const aliases = await this.#client.list('ListAliases', 'Aliases');
    return aliases.map((alias) => String(alias['AliasName'])).filter((name) => name.startsWith(prefix));
  }

  async #tagged(): Promise<readonly string[]> {
    const keys = await this.#client.list('ListKeys', 'Keys');
    const tagged: string[] = [];
    for (const key of keys) {
      const keyId = String(key['KeyId']);
      const tags = (await tagsOf(this.#client, keyId)) ?? [];
      if (tags.some(({ TagKey, TagValue }) => this.#choice.tags[String(TagKey)] === TagValue)) tagged.push(keyId);
    }
    return tagged;
  }

  /** `undefined` for a key that a pattern or a tag has found and that is of no use to SSH. */
  async #key(name: string): Promise<AgentKey | undefined> {
    const answer = await this.#client.call('GetPublicKey', { KeyId: name });
    if (answer['KeyUsage'] !== 'SIGN_VERIFY') throw new Error(`it is for ${answer['KeyUsage']} and signs nothing`);
    const key = sshKeyOfSpki(Buffer.from(String(answer['PublicKey']), 'base64'));
    return { ...key, keyArn: String(answer['KeyId']), comment: isAlias(name) ? aliasName(name) : name };
  }
}

type Complain = (about: string, error: unknown) => void;

/** Without the number of the request, which would make each look-up say something new. */
function reasonOf(error: unknown): string {
  return describeError(error instanceof ApiError ? new ApiError(error.type, error.message, null) : error);
}

/** Without the ARN around it. */
function aliasName(name: string): string {
  return name.slice(name.indexOf('alias/'));
}
