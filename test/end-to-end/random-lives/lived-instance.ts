/**
 * An instance over which lives are lived: sends what a life says, strikes the blows, and holds every answer and, after every
 * start, everything that can be seen to the model.
 *
 * Lives follow each other over one instance, each with keys and aliases of its own.
 */

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type KMS, KMSServiceException } from '@aws-sdk/client-kms';
import { expect } from 'vitest';
import { childrenOf } from '../../support/children.ts';
import { type Instance, startInstance } from '../../support/instance.ts';
import { createSetTime } from '../../support/set-time.ts';
import { differencesIn } from '../../support/stopped-instance.ts';
import { brokenLink } from '../support/audit-trail.ts';
import { kmsOver } from '../support/connect.ts';
import { newKey, present, type TokenName } from '../support/daemon.ts';
import { UnixClient, unixUsers } from '../support/unix-users.ts';
import { after, passed, withUnknownUses } from './life-changes.ts';
import { type Answer, answerOf, currentOf, keyOf, type Learned, type Model, nothing } from './life-model.ts';
import { type Callers, send } from './life-requests.ts';
import { expectedOf, type SeenLife, seenOf } from './life-seen.ts';
import { type Blow, eventText, type LifeEvent, type Step } from './life-steps.ts';

/** What became of a request. `lost`: the connection broke, and nobody told. */
type Outcome =
  | { readonly is: 'answered'; readonly answer: string; readonly learned: Learned }
  | { readonly is: 'failed'; readonly reason: unknown }
  | { readonly is: 'lost' };

const dayMs = 24 * 60 * 60 * 1000;
const maxDaysInLife = 85;

export class LivedInstance {
  /** How often what was told: `DisableKey fine`. */
  readonly tally = new Map<string, number>();
  readonly #folder = mkdtempSync(join(tmpdir(), 'drawbridge-lives-'));
  readonly #token: TokenName;
  #instance: Instance | undefined;
  #callers: (Callers & { readonly nobody: UnixClient }) | undefined;
  #lives = 0;
  /** Of all its processes. */
  #log = '';
  readonly #time = createSetTime();
  #aheadMs = 0;
  /** How much of that has passed in this life. */
  #daysInLife = 0;
  /** Whoever changes it has upkeep look at the clocks. */
  #bystander = '';

  constructor(token: TokenName) {
    this.#token = token;
  }

  get #dir(): string {
    return join(this.#folder, 'instance');
  }

  async start(): Promise<void> {
    this.#instance = await startInstance({ token: this.#token, dir: this.#dir, env: this.#time.environment });
    const kms = kmsOver(this.#instance.socket);
    if (this.#bystander === '') this.#bystander = (await newKey(kms)).id;
    const nobody = this.#callers?.nobody ?? (await UnixClient.start(this.#instance.socket, unixUsers.nobody));
    const nowMs = (): number => Date.now() + this.#aheadMs;
    this.#callers = { kms, nobody, nowMs, life: `life-${this.#lives}`, parameters: new Map() };
  }

  /**
   * Ends it, and looks at what is left: every object in the token is named by a record or by the log, all material of which a
   * record says that it is there is there, and the audit log's chain is whole.
   */
  async end(): Promise<void> {
    await this.#stop();
    expect(await differencesIn(this.#dir, this.#log)).toEqual({ orphans: [], missing: [] });
    expect(brokenLink(this.#dir)).toBeUndefined();
  }

  async remove(): Promise<void> {
    if (this.#instance !== undefined) await this.#kill();
    await this.#callers?.nobody.stop();
    this.#time.remove();
    rmSync(this.#folder, { recursive: true, force: true });
  }

  /** @throws for the first answer that is not the model's, and for whatever is not as the model has it after a start. */
  async live(events: readonly LifeEvent[]): Promise<void> {
    this.#lives += 1;
    this.#daysInLife = 0;
    // A life that failed may have left no daemon.
    if (this.#instance === undefined) await this.start();
    this.#callers = { ...this.callers, parameters: new Map(), life: `life-${this.#lives}` };
    let model = nothing;
    for (const [at, event] of events.entries()) {
      try {
        model = isBlow(event) ? await this.#strike(model, event) : await this.#step(model, event);
      } catch (error) {
        throw new Error(`event ${at}, ${eventText(event)}: ${error instanceof Error ? error.message : error}`, {
          cause: error,
        });
      }
    }
    await this.#assertSeen(model);
  }

  get callers(): Callers & { readonly nobody: UnixClient } {
    return present(this.#callers);
  }

  get kms(): KMS {
    return this.callers.kms;
  }

  async #step(model: Model, step: Step): Promise<Model> {
    const expected = answerOf(model, step);
    if (expected === 'nothing to do') return model;
    const outcome = await this.#send(model, step);
    if (outcome.is !== 'answered') throw new Error(`was not answered: ${JSON.stringify(outcome)}`);
    const told = `${step.do} ${outcome.answer}`;
    this.tally.set(told, (this.tally.get(told) ?? 0) + 1);
    return held(model, step, expected, outcome);
  }

  async #strike(model: Model, blow: Blow): Promise<Model> {
    if (blow.do === 'Pass') return this.#pass(model, blow.days);
    if (blow.do === 'Restart') {
      await (blow.how === 'stop' ? this.#stop() : this.#kill());
      await this.start();
      return this.#assertSeen(blow.how === 'stop' ? model : withUnknownUses(model));
    }
    const { step, afterMs } = blow;
    const expected = answerOf(model, step);
    if (expected === 'nothing to do') return model;
    const keysBefore = await this.#keyIds();
    const request = this.#send(model, step);
    await new Promise((resolve) => setTimeout(resolve, afterMs));
    if (blow.do === 'KillHost') {
      for (const host of childrenOf(present(this.#instance).pid)) process.kill(host, 'SIGKILL');
      const outcome = await request;
      await expect.poll(() => this.#canEncrypt(), { timeout: 170_000, interval: 50 }).toBe(true);
      if (outcome.is === 'lost') throw new Error('the connection broke, though the daemon runs');
      // Whole, or not at all and with an error to try again.
      return this.#assertSeen(outcome.is === 'failed' ? model : held(model, step, expected, outcome));
    }
    await this.#kill();
    const outcome = await request;
    await this.start();
    const before = withUnknownUses(model);
    if (outcome.is === 'answered') return this.#assertSeen(withUnknownUses(held(model, step, expected, outcome)));
    if (outcome.is === 'failed') throw new Error(`failed before the daemon died: ${String(outcome.reason)}`);
    return expected === 'fine' ? this.#whichever(before, step, keysBefore) : this.#assertSeen(before);
  }

  /** Time passes, and what is due is done soon. */
  async #pass(model: Model, days: number): Promise<Model> {
    // Later the first keys would be rotated by themselves, and material would expire.
    if (this.#daysInLife + days > maxDaysInLife) return model;
    this.#daysInLife += days;
    this.#aheadMs += days * dayMs;
    this.#time.shiftTo(this.#aheadMs);
    this.callers.parameters.clear();
    // Upkeep looks at the clocks a second after something changed, or within a minute.
    await this.kms.updateKeyDescription({ KeyId: this.#bystander, Description: `day ${this.#daysInLife}` });
    // Whoever looks uses the keys, and looks until it is done.
    const next = withUnknownUses(passed(model, new Date(this.callers.nowMs())));
    const isDone = async (): Promise<boolean> =>
      same(await seenOf(this.kms, next), expectedOf(next, this.callers.life));
    const done = expect.poll(isDone, { timeout: 170_000, interval: 300 }).toBe(true);
    // What is other than it is to be says more than that something is.
    await done.catch(() => this.#assertSeen(next));
    return next;
  }

  /** Nobody told whether it was done: it is whole, or not there at all. */
  async #whichever(model: Model, step: Step, keysBefore: readonly string[]): Promise<Model> {
    const learned = await this.#learnedSince(model, step, keysBefore);
    const before = expectedOf(model, this.callers.life);
    const isThere = step.do !== 'CreateKey' || learned.keyId !== undefined;
    if (!isThere) {
      expect(await seenOf(this.kms, model)).toEqual(before);
      return model;
    }
    const changed = isLearnable(step, learned) ? after(model, step, learned) : model;
    const seen = await seenOf(this.kms, changed);
    if (same(seen, expectedOf(changed, this.callers.life))) return withUnknownUses(changed);
    expect(seen).toEqual(before);
    return model;
  }

  /** What the model has to know of a step that may have been done, asked for instead of told. */
  async #learnedSince(model: Model, step: Step, keysBefore: readonly string[]): Promise<Learned> {
    if (step.do === 'CreateKey') {
      const [keyId, ...others] = (await this.#keyIds()).filter((id) => !keysBefore.includes(id));
      expect(others).toEqual([]);
      if (keyId === undefined) return {};
      const { KeyMetadata } = await this.kms.describeKey({ KeyId: keyId });
      const materialId = KeyMetadata?.CurrentKeyMaterialId;
      return { keyId, ...(materialId === undefined ? {} : { materialId }) };
    }
    const key = 'key' in step && step.key !== null ? keyOf(model, step.key) : undefined;
    if (key === undefined) return {};
    if (step.do === 'ScheduleKeyDeletion') {
      const { KeyMetadata } = await this.kms.describeKey({ KeyId: key.keyId });
      return KeyMetadata?.DeletionDate === undefined ? {} : { deletionDate: KeyMetadata.DeletionDate };
    }
    if (step.do === 'EnableKeyRotation') {
      const { NextRotationDate } = await this.kms.getKeyRotationStatus({ KeyId: key.keyId });
      return NextRotationDate === undefined ? {} : { nextRotation: NextRotationDate };
    }
    if (step.do === 'RotateKeyOnDemand') {
      const { KeyMetadata } = await this.kms.describeKey({ KeyId: key.keyId });
      const materialId = KeyMetadata?.CurrentKeyMaterialId;
      return materialId === undefined || materialId === currentOf(key)?.id ? {} : { materialId };
    }
    if (step.do === 'ImportKeyMaterial') {
      const { KeyMetadata } = await this.kms.describeKey({ KeyId: key.keyId });
      if (key.kind !== 'imported') return KeyMetadata?.ValidTo === undefined ? {} : { validTo: KeyMetadata.ValidTo };
      const { Rotations } = await this.kms.listKeyRotations({
        ...{ KeyId: key.keyId, IncludeKeyMaterial: 'ALL_KEY_MATERIAL' },
      });
      const known = key.materials.find(({ secret }) => secret === step.secret)?.id;
      const isMeant = (id: string | undefined): boolean =>
        known === undefined ? key.materials.every((material) => material.id !== id) : known === id;
      const { KeyMaterialId, ValidTo } = present(Rotations).find((each) => isMeant(each.KeyMaterialId)) ?? {};
      return {
        ...(KeyMaterialId === undefined ? {} : { materialId: KeyMaterialId }),
        ...(ValidTo === undefined ? {} : { validTo: ValidTo }),
      };
    }
    if (step.do === 'CreateGrant') {
      const { Grants = [] } = await this.kms.listGrants({ KeyId: key.keyId });
      const made = Grants.find(({ GrantId }) => key.grants.every(({ id }) => id !== GrantId));
      return made?.GrantId === undefined ? {} : { grantId: made.GrantId };
    }
    return {};
  }

  async #send(model: Model, step: Step): Promise<Outcome> {
    try {
      return { is: 'answered', answer: 'fine', learned: await send(this.callers, model, step) };
    } catch (error) {
      if (!(error instanceof Error) || !error.name.endsWith('Exception')) return { is: 'lost' };
      if (error instanceof KMSServiceException && error.$fault === 'server') return { is: 'failed', reason: error };
      return { is: 'answered', answer: error.name, learned: {} };
    }
  }

  /** @returns The model as it is when everything was looked at. */
  async #assertSeen(model: Model): Promise<Model> {
    expect(await seenOf(this.kms, model)).toEqual(expectedOf(model, this.callers.life));
    return withUnknownUses(model);
  }

  async #keyIds(): Promise<readonly string[]> {
    const { Keys = [], Truncated } = await this.kms.listKeys({ Limit: 1000 });
    if (Truncated === true) throw new Error('more keys than one page: begin a new instance');
    return Keys.map(({ KeyId }) => present(KeyId));
  }

  async #canEncrypt(): Promise<boolean> {
    return this.kms.generateRandom({ NumberOfBytes: 1 }).then(
      () => true,
      () => false,
    );
  }

  async #stop(): Promise<void> {
    const instance = present(this.#instance);
    this.kms.destroy();
    expect(await instance.stop()).toBe(0);
    this.#gone(instance);
  }

  async #kill(): Promise<void> {
    const instance = present(this.#instance);
    await instance.kill9();
    this.kms.destroy();
    this.#gone(instance);
  }

  #gone(instance: Instance): void {
    this.#log += instance.log();
    this.#instance = undefined;
  }
}

function isBlow(event: LifeEvent): event is Blow {
  return event.do === 'Pass' || event.do === 'Restart' || event.do === 'KillHost' || event.do === 'KillDaemon';
}

/** What the model is after an answer, which has to be its own. */
function held(model: Model, step: Step, expected: Answer, outcome: Extract<Outcome, { is: 'answered' }>): Model {
  if (outcome.answer !== expected) throw new Error(`is answered ${outcome.answer}, and by the model ${expected}`);
  return expected === 'fine' ? after(model, step, outcome.learned) : model;
}

/** Is what the model has to know of the step there, so that it may have been done? */
function isLearnable(step: Step, learned: Learned): boolean {
  if (step.do === 'ScheduleKeyDeletion') return learned.deletionDate !== undefined;
  if (step.do === 'ImportKeyMaterial') return !step.expires || learned.validTo !== undefined;
  if (step.do === 'EnableKeyRotation') return learned.nextRotation !== undefined;
  if (step.do === 'RotateKeyOnDemand') return learned.materialId !== undefined;
  if (step.do === 'CreateGrant') return learned.grantId !== undefined;
  return true;
}

function same(a: SeenLife, b: SeenLife): boolean {
  try {
    expect(a).toEqual(b);
    return true;
  } catch {
    return false; // They differ: whoever asks says what else it has to be.
  }
}
