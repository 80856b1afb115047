/** What `drawbridge doctor` found, for people and for programs. */

import type { KeyStoreCapabilities, MemberStatus } from '../../../hsm/key-store.ts';
import type { ListedServiceKey } from '../../../keys/life/service-keys.ts';
import { facts, table } from '../../terminal/output.ts';

export interface Check {
  readonly check: string;
  /** The key store that it is about, if it is about one. */
  readonly keyStore?: string;
  readonly ok: boolean;
  readonly detail: string;
}

/** A token, with the keys on it that Drawbridge keeps for itself. */
export interface Examined extends KeyStoreCapabilities {
  /** Of the key store, or of a member of one. */
  readonly name: string;
  /** What the HSM is called in requests, where AWS has the id of a CloudHSM cluster. */
  readonly clusterId: string;
  readonly serviceKeys: readonly ListedServiceKey[];
  /** Of a running daemon's key store that has several; what it can do is then what all of them can. */
  readonly members?: readonly MemberStatus[];
}

/** An HSM for a custom key store: nobody has its PIN, so there is no more to tell of it. */
export interface CustomHsm {
  readonly name: string;
  readonly clusterId: string;
}

/** What was found. */
export interface Findings {
  readonly keyStores: readonly Examined[];
  readonly hsms: readonly CustomHsm[];
}

export function forPrograms(examined: Examined): object {
  const { name, clusterId, profile, library, token, mechanisms, capabilities, imports, wrapping } = examined;
  const { protection, serviceKeys } = examined;
  return {
    name,
    clusterId,
    ...(examined.members === undefined ? {} : { members: examined.members }),
    profile,
    library,
    token,
    mechanisms,
    capabilities,
    imports,
    wrapping,
    protection,
    serviceKeys,
  };
}

export function describeChecks(checks: readonly Check[]): string {
  return table(
    ['CHECK', 'RESULT', 'DETAIL'],
    checks.flatMap(({ check, keyStore, ok, detail }) => {
      // Of a configuration, each mistake has a line.
      const [first = '', ...more] = detail.split('\n');
      const name = keyStore === undefined ? check : `${check} (${keyStore})`;
      return [[name, ok ? 'ok' : 'FAILED', first], ...more.map((line) => ['', '', line])];
    }),
  );
}

export function describeHsms(hsms: readonly CustomHsm[]): readonly string[] {
  if (hsms.length === 0) return [];
  return [
    table(
      ['HSM FOR A CUSTOM KEY STORE', 'CLUSTER ID'],
      hsms.map(({ name, clusterId }) => [name, clusterId]),
    ),
  ];
}

export function describeKeyStore(examined: Examined): string {
  const {
    name: called,
    clusterId,
    library,
    token,
    capabilities,
    imports,
    wrapping,
    protection,
    serviceKeys,
  } = examined;
  const members = (examined.members ?? []).map(
    ({ name, state, token: of }) =>
      ['member', `${name}: ${state}${of === null ? '' : `, ${of.label}, serial ${of.serial}`}`] as const,
  );
  const head = facts([
    ['key store', called],
    ['cluster id', clusterId],
    ...members,
    ['token', `${token.label} (${token.manufacturer} ${token.model}, serial ${token.serial})`],
    ['library', `${library.path} (${library.description} ${library.version}, Cryptoki ${library.cryptoki})`],
  ]);
  const rows = capabilities.map((capability) => [
    capability.keySpec,
    capability.keyUsage,
    capability.algorithm,
    capability.works ? 'yes' : 'no',
    capability.evidence,
    capability.reason ?? '',
  ]);
  const columns = ['KEY SPEC', 'KEY USAGE', 'ALGORITHM', 'TOKEN', 'HOW KNOWN', 'WHY'];
  const importRows = imports.map(({ subject, works, evidence, reason }) => [
    subject,
    works ? 'yes' : 'no',
    evidence,
    reason ?? '',
  ]);
  const importColumns = ['IMPORT', 'TOKEN', 'HOW KNOWN', 'WHY'];
  const own = table(
    ['SERVICE KEY', 'OBJECT (CKA_ID)'],
    serviceKeys.map(({ purpose, backingKeyId }) => [purpose, backingKeyId]),
  );
  const wrapped = table(
    ['WRAPPED KEY', 'TOKEN', 'WHY'],
    wrapping.map(({ keySpec, works, reason }) => [keySpec, works ? 'yes' : 'no', reason ?? '']),
  );
  const enforced = table(
    ['WHAT MUST FAIL FOR A HOLDER OF THE PIN', 'TOKEN', 'IT ANSWERED'],
    protection.map(({ attempt, isHeld, answer }) => [attempt, isHeld ? 'refuses' : 'DOES IT', answer]),
  );
  const tables = [table(columns, rows), table(importColumns, importRows), wrapped, enforced];
  return [head, ...tables, ...(serviceKeys.length > 0 ? [own] : [])].join('\n\n');
}
