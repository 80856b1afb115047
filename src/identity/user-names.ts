/**
 * What users are called without their path, so that no two of them are called the same: `aws:username`.
 *
 * In IAM a name is unique in its account, whatever the path, and not distinguished by case; policies rely on it
 * (`${aws:username}`). Here users come from three sides: the configuration, access keys, and the operating system, whose users
 * nobody asked whether their names were free. So two of the configuration, or of access keys, cannot share a name; a Unix user
 * who is called like one of them has the name `unix=NAME`, and the root of a container `container=NAME`: no user of an
 * operating system is called so, and the configuration cannot call anybody so.
 */

import type { PrincipalArn } from '../kms/names.ts';

/** What stands in a name that is not one's own alone. */
const keptPattern = /^(?:unix|container)=/;

export class UserNames {
  /** By name in small letters: who is called so, and how often that was said. */
  readonly #called = new Map<string, Map<PrincipalArn, number>>();

  #changeCount = 0;

  /** @param principals Users of the configuration; roles among them are left out. */
  constructor(principals: Iterable<PrincipalArn> = []) {
    for (const arn of principals) this.add(arn);
  }

  /** Grows whenever somebody may be called otherwise than before. */
  get changeCount(): number {
    return this.#changeCount;
  }

  add(arn: PrincipalArn): void {
    if (!isUser(arn)) return;
    this.#changeCount++;
    const name = nameIn(arn).toLowerCase();
    const called = this.#called.get(name) ?? new Map<PrincipalArn, number>();
    called.set(arn, (called.get(arn) ?? 0) + 1);
    this.#called.set(name, called);
  }

  /** Takes back what `add` said once. */
  remove(arn: PrincipalArn): void {
    if (!isUser(arn)) return;
    this.#changeCount++;
    const name = nameIn(arn).toLowerCase();
    const called = this.#called.get(name);
    const count = called?.get(arn) ?? 0;
    if (count > 1) called?.set(arn, count - 1);
    else called?.delete(arn);
    if (called?.size === 0) this.#called.delete(name);
  }

  /** Another user who is called so already. */
  sharedWith(arn: PrincipalArn): PrincipalArn | undefined {
    for (const other of this.#called.get(nameIn(arn).toLowerCase())?.keys() ?? []) if (other !== arn) return other;
    return undefined;
  }

  has(arn: PrincipalArn): boolean {
    return this.#called.get(nameIn(arn).toLowerCase())?.has(arn) === true;
  }

  /** All that were added, each once. */
  *all(): Iterable<PrincipalArn> {
    for (const called of this.#called.values()) yield* called.keys();
  }

  /** The name of a user, whether he was added or not. */
  nameOf(arn: PrincipalArn): string {
    const [, container, uid] = /:user\/container\/([^/]+)\/(?:root|(uid=\d+))$/.exec(arn) ?? [];
    if (container !== undefined) return `container=${container}${uid === undefined ? '' : `,${uid}`}`;
    const name = nameIn(arn);
    return arn.endsWith(`:user/unix/${name}`) && this.sharedWith(arn) !== undefined ? `unix=${name}` : name;
  }
}

/** Is it a name that only `UserNames` gives? */
export function isKeptName(arn: PrincipalArn): boolean {
  return isUser(arn) && keptPattern.test(nameIn(arn));
}

function isUser(arn: PrincipalArn): boolean {
  return arn.includes(':user/');
}

function nameIn(arn: PrincipalArn): string {
  return arn.slice(arn.lastIndexOf('/') + 1);
}
