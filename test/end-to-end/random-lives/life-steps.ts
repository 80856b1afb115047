/**
 * The steps of which random lives are made, as data: a life prints as a list of them, and shrinks by losing some.
 *
 * A step names keys, aliases and what keys made by number; which one that is, the model says (`life-model.ts`), modulo how
 * many there are by then. So every step makes sense in every life, and a shorter one means the same.
 */

import fc from 'fast-check';
import { operations } from '../../../src/operations/find-operation.ts';

export const kinds = {
  symmetric: { KeySpec: 'SYMMETRIC_DEFAULT', KeyUsage: 'ENCRYPT_DECRYPT', Origin: 'AWS_KMS' },
  authenticator: { KeySpec: 'HMAC_256', KeyUsage: 'GENERATE_VERIFY_MAC', Origin: 'AWS_KMS' },
  signer: { KeySpec: 'ECC_NIST_P256', KeyUsage: 'SIGN_VERIFY', Origin: 'AWS_KMS' },
  imported: { KeySpec: 'SYMMETRIC_DEFAULT', KeyUsage: 'ENCRYPT_DECRYPT', Origin: 'EXTERNAL' },
  importedAuthenticator: { KeySpec: 'HMAC_256', KeyUsage: 'GENERATE_VERIFY_MAC', Origin: 'EXTERNAL' },
} as const;
export type Kind = keyof typeof kinds;

/** Who asks: the account's root, or a Unix user to whom policies and grants have to allow it. */
export type Who = 'root' | 'nobody';

/** `nobody` is none of these policies' concern, is allowed to encrypt, is denied everything. */
export const policyCount = 3;
export const aliasCount = 4;
export const grantNames = ['', 'one', 'two'] as const;

/** A key that is not there: whoever asks for it is told so. */
export const noKey = -1;

export type Step =
  | { readonly do: 'CreateKey'; readonly kind: Kind; readonly tag: string }
  | { readonly do: 'EnableKey' | 'DisableKey' | 'CancelKeyDeletion'; readonly key: number }
  | { readonly do: 'ScheduleKeyDeletion'; readonly key: number; readonly days: number }
  | { readonly do: 'CreateAlias' | 'UpdateAlias'; readonly alias: number; readonly key: number }
  | { readonly do: 'DeleteAlias'; readonly alias: number }
  | { readonly do: 'TagResource'; readonly key: number; readonly tag: string; readonly value: string }
  | { readonly do: 'UntagResource'; readonly key: number; readonly tag: string }
  | { readonly do: 'UpdateKeyDescription'; readonly key: number; readonly description: string }
  | { readonly do: 'PutKeyPolicy'; readonly key: number; readonly policy: number }
  | { readonly do: 'CreateGrant'; readonly key: number; readonly name: string; readonly mayEncrypt: boolean }
  | { readonly do: 'RevokeGrant' | 'RetireGrant'; readonly key: number; readonly grant: number }
  | { readonly do: 'EnableKeyRotation'; readonly key: number; readonly days: number | null }
  | { readonly do: 'DisableKeyRotation' | 'RotateKeyOnDemand'; readonly key: number }
  | {
      readonly do: 'ImportKeyMaterial';
      readonly key: number;
      /** Which of a few. */
      readonly secret: number;
      readonly type: 'NEW_KEY_MATERIAL' | 'EXISTING_KEY_MATERIAL' | null;
      readonly expires: boolean;
    }
  /** `null`: the current one. */
  | { readonly do: 'DeleteImportedKeyMaterial'; readonly key: number; readonly material: number | null }
  | { readonly do: 'Encrypt'; readonly key: number; readonly alias: number; readonly context: number; readonly as: Who }
  | {
      readonly do: 'GenerateDataKey' | 'GenerateDataKeyWithoutPlaintext';
      readonly key: number;
      readonly context: number;
    }
  | { readonly do: 'Decrypt'; readonly made: number; readonly key: number | null; readonly isRight: boolean }
  | { readonly do: 'ReEncrypt'; readonly made: number; readonly key: number; readonly context: number }
  | { readonly do: 'Sign' | 'GenerateMac'; readonly key: number }
  | { readonly do: 'Verify' | 'VerifyMac'; readonly made: number; readonly isRight: boolean };

/** What happens to the daemon, between requests or in the middle of one. */
export type Blow =
  /** Time passes while it runs: what is due is done. */
  | { readonly do: 'Pass'; readonly days: number }
  | { readonly do: 'Restart'; readonly how: 'stop' | 'kill -9' }
  /** The process that holds the token dies while the step is under way. */
  | { readonly do: 'KillHost'; readonly step: Step; readonly afterMs: number }
  | { readonly do: 'KillDaemon'; readonly step: Step; readonly afterMs: number };

/** A record of these, which prints as one. */
const like = <T>(members: { [Name in keyof T]: fc.Arbitrary<T[Name]> }): fc.Arbitrary<T> =>
  fc.record(members, { noNullPrototype: true }) as fc.Arbitrary<T>;

/** Few, so that what happens to a key often meets. */
const someKey = fc.nat({ max: 4 });
/** Now and then one that is not there. */
const key = fc.oneof({ weight: 24, arbitrary: someKey }, { weight: 1, arbitrary: fc.constant(noKey) });
const alias = fc.nat({ max: aliasCount - 1 });
const made = fc.nat({ max: 99 });
const context = fc.nat({ max: 2 });
const tag = fc.constantFrom('a', 'b', 'c');
const value = fc.constantFrom('', 'x', '🔑');
const mostlyTrue = fc.integer({ min: 0, max: 4 }).map((n) => n > 0);
const kind = fc.oneof(
  { weight: 4, arbitrary: fc.constant<Kind>('symmetric') },
  { weight: 5, arbitrary: fc.constant<Kind>('imported') },
  { weight: 3, arbitrary: fc.constantFrom<Kind>('authenticator', 'signer', 'importedAuthenticator') },
);
const is = <const Name extends string>(...names: Name[]) => fc.constantFrom(...names);

/** With how often each comes, relative to the others. */
const weighted: readonly (readonly [number, fc.Arbitrary<Step>])[] = [
  [2, like({ do: is('CreateKey'), kind, tag })],
  [4, like({ do: is('EnableKey', 'EnableKey', 'DisableKey'), key })],
  // Out of the range that AWS takes, now and then.
  [4, like({ do: is('ScheduleKeyDeletion'), key, days: fc.constantFrom(7, 8, 7, 8, 19, 30, 6, 31) })],
  [6, like({ do: is('CancelKeyDeletion'), key })],
  [4, like({ do: is('CreateAlias', 'UpdateAlias'), alias, key })],
  [1, like({ do: is('DeleteAlias'), alias })],
  [3, like({ do: is('TagResource'), key, tag, value })],
  [1, like({ do: is('UntagResource'), key, tag })],
  [2, like({ do: is('UpdateKeyDescription'), key, description: fc.constantFrom('', 'one', 'ü'.repeat(40)) })],
  [2, like({ do: is('PutKeyPolicy'), key, policy: fc.nat({ max: policyCount - 1 }) })],
  [3, like({ do: is('CreateGrant'), key, name: fc.constantFrom(...grantNames), mayEncrypt: fc.boolean() })],
  [1, like({ do: is('RevokeGrant', 'RetireGrant'), key, grant: fc.nat({ max: 5 }) })],
  [
    6,
    like({
      ...{ do: is('Encrypt'), key, context },
      alias: fc.oneof(fc.constant(-1), alias),
      as: fc.constantFrom<Who>('root', 'root', 'nobody'),
    }),
  ],
  [2, like({ do: is('EnableKeyRotation'), key, days: fc.constantFrom(null, 90, 2560, 89) })],
  [1, like({ do: is('DisableKeyRotation'), key })],
  [3, like({ do: is('RotateKeyOnDemand'), key })],
  [
    7,
    like({
      ...{ do: is('ImportKeyMaterial'), key, secret: fc.nat({ max: 2 }), expires: fc.boolean() },
      type: fc.constantFrom(null, null, 'NEW_KEY_MATERIAL' as const, 'EXISTING_KEY_MATERIAL' as const),
    }),
  ],
  [
    3,
    like({
      ...{ do: is('DeleteImportedKeyMaterial'), key },
      material: fc.oneof(fc.constant(null), fc.nat({ max: 3 })),
    }),
  ],
  [2, like({ do: is('GenerateDataKey', 'GenerateDataKeyWithoutPlaintext'), key, context })],
  [
    4,
    like({
      do: is('Decrypt'),
      made,
      key: fc.oneof(fc.constant(null), fc.constant(null), someKey),
      isRight: mostlyTrue,
    }),
  ],
  [2, like({ do: is('ReEncrypt'), made, key, context })],
  [3, like({ do: is('Sign', 'GenerateMac'), key })],
  [2, like({ do: is('Verify', 'VerifyMac'), made, isRight: mostlyTrue })],
];

export const anyStep: fc.Arbitrary<Step> = fc.oneof(...weighted.map(([weight, arbitrary]) => ({ weight, arbitrary })));

/** Only what changes something can be half done. */
const anyChange: fc.Arbitrary<Step> = anyStep.filter((step) => isChange(step));
const afterMs = fc.nat({ max: 25 });
const anyBlow: fc.Arbitrary<Blow> = fc.oneof(
  // No sum of these is one of the waiting periods above.
  like({ do: is('Pass'), days: fc.constantFrom(5.5, 12.5) }),
  like({ do: is('Pass'), days: fc.constantFrom(5.5, 12.5) }),
  like({ do: is('Restart'), how: is('stop', 'kill -9') }),
  like({ do: is('KillHost'), step: anyChange, afterMs }),
  like({ do: is('KillDaemon'), step: anyChange, afterMs }),
);

export type LifeEvent = Step | Blow;

const anyEvent: fc.Arbitrary<LifeEvent> = fc.oneof(
  { weight: 20, arbitrary: anyStep },
  { weight: 1, arbitrary: anyBlow },
);
/** Begins with keys, so that what follows has something to be about. Short ones come of making a failing one shorter. */
export const anyLife: fc.Arbitrary<readonly LifeEvent[]> = fc
  .tuple(
    fc.array(like<Step>({ do: is('CreateKey'), kind, tag }), { minLength: 1, maxLength: 4, size: 'max' }),
    fc.noBias(fc.array(anyEvent, { minLength: 1, maxLength: 120, size: 'max' })),
  )
  .map(([keys, events]) => [...keys, ...events]);

const changing: ReadonlySet<string> = new Set(
  operations.filter(({ effect }) => effect === 'changes').map(({ name }) => name),
);

export function isChange(step: Step): boolean {
  return changing.has(step.do);
}

/** As a life prints: `DisableKey {"key":1}`. */
export function eventText({ do: name, ...members }: LifeEvent): string {
  return `${name} ${JSON.stringify(members)}`;
}
