/** `drawbridge policy check`: what is wrong with a policy that is valid, before or after it is put. */

import { existsSync } from 'node:fs';
import { Command } from 'commander';
import type { Finding, LintOptions } from '../../../authorization/advice/linted-statement.ts';
import type { AttachedFile } from '../../../authorization/identity-policies.ts';
import type { CompiledStatement } from '../../../authorization/language/compiled-statement.ts';
import type { JsonValue } from '../../../authorization/language/policy-json.ts';
import type { Configuration } from '../../../config/configuration-schema.ts';
import { type Account, parsePrincipalArn } from '../../../kms/names.ts';
import {
  configurationIfAny,
  connectTo,
  type SocketOptions,
  withJson,
  withSocket,
} from '../../requests/command-options.ts';
import { readPolicy } from '../../terminal/input.ts';
import { note, print, printJson, table } from '../../terminal/output.ts';

interface Options extends SocketOptions {
  readonly account?: string;
  readonly region?: string;
  readonly json?: true;
}

export function checkCommand(): Command {
  return withJson(withSocket(new Command('check').description('find what is wrong with a policy, though it is valid')))
    .argument('<policy>', 'a file, - for stdin, or the key whose policy is meant')
    .option('--account <id>', 'the account of a policy from a file; of the configuration if not given')
    .option('--region <name>', 'its Region; the first of the configuration if not given')
    .addHelpText(
      'after',
      `
A file holds a key policy, the trust policy of a role, or an identity policy with AttachedTo and PolicyDocument. Found are documents that are
refused, statements that never match, elements whose absence makes them silent no-ops, condition keys that no request
has, access for everybody, and lockouts. The exit code is 1 when something is found. Files are checked without a daemon.

Examples:
  drawbridge policy check policy.json
  drawbridge policy check 1234abcd-12ab-34cd-56ef-1234567890ab
  for file in policies/*.json; do drawbridge policy check "$file" || echo "in $file"; done`,
    )
    .action(check);
}

async function check(named: string, options: Options): Promise<void> {
  const { knownActions } = await import('../../../access/known-actions.ts');
  const { conditionVocabulary } = await import('../../../pipeline/condition-key-table.ts');
  const common = { vocabulary: conditionVocabulary, actions: knownActions(), nowMs: Date.now() };
  const findings =
    named === '-' || existsSync(named)
      ? await checkFile(named, options, common)
      : await checkKey(named, options, common);
  if (options.json) printJson(findings);
  else if (findings.length === 0) note('nothing found');
  else
    print(
      table(
        ['', 'WHERE', 'WHAT'],
        findings.map(({ severity, place, problem }) => [severity, place, problem]),
      ),
    );
  if (findings.length > 0) process.exitCode = 1;
}

type Knowledge = Pick<LintOptions, 'vocabulary' | 'actions' | 'nowMs'>;

async function checkKey(keyId: string, options: Options, knowledge: Knowledge): Promise<readonly Finding[]> {
  const { lintPolicy } = await import('../../../authorization/advice/lint.ts');
  const client = await connectTo(options);
  const { KeyMetadata } = await client.call('DescribeKey', { KeyId: keyId });
  const { Arn, KeyId } = KeyMetadata as { readonly Arn: string; readonly KeyId: string };
  const { Policy } = await client.call('GetKeyPolicy', { KeyId });
  const [, , , region = '', account = ''] = Arn.split(':');
  return lintPolicy(String(Policy), { ...knowledge, kind: 'key policy', realm: { region, account }, keyArn: Arn });
}

async function checkFile(path: string, options: Options, knowledge: Knowledge): Promise<readonly Finding[]> {
  const { lintPolicy } = await import('../../../authorization/advice/lint.ts');
  const text = await readPolicy(path);
  const configuration = await configurationIfAny(options.config);
  const realm = {
    region: options.region ?? configuration?.regions[0].region ?? 'us-east-1',
    account: options.account ?? configuration?.account ?? '000000000000',
  };
  const document = await identityPolicyIn(text, realm, knowledge);
  const trust = await trustPolicyIn(text);
  if (trust !== undefined) {
    const nobodies = configuration === undefined ? [] : await findNobodiesNamed(text, realm, knowledge, configuration);
    return [...nobodies, ...lintPolicy(trust, { ...knowledge, kind: 'trust policy', realm })];
  }
  if (document === undefined) {
    const nobodies = configuration === undefined ? [] : await findNobodiesNamed(text, realm, knowledge, configuration);
    return [...nobodies, ...lintPolicy(text, { ...knowledge, kind: 'key policy', realm })];
  }
  if ('severity' in document) return [document];
  return [
    ...(configuration === undefined ? [] : await findNobodies(document.attached, configuration)),
    ...lintPolicy(document.value, { ...knowledge, kind: 'identity policy', realm }),
  ];
}

/** Whom of those that it is attached to nobody can be, by the configuration and this machine's users; access keys are not known. */
async function findNobodies(
  { principals, groups, denies }: AttachedFile,
  configuration: Configuration,
): Promise<readonly Finding[]> {
  const { describeUnreachable, findUnreachable } = await import('../../../identity/reachable-principals.ts');
  const { unixMapping } = await import('../../../daemon/unix-mapping.ts');
  return findUnreachable(principals, groups, unixMapping(configuration)).map((nobody) => ({
    severity: denies ? 'error' : 'warning',
    place: 'AttachedTo',
    problem: `${denies ? 'what is denied there is denied to nobody: ' : ''}${describeUnreachable(nobody)}`,
  }));
}

/** The same of those whom the statements of a key policy or a trust policy name. */
async function findNobodiesNamed(
  text: string,
  realm: Account,
  { vocabulary }: Knowledge,
  configuration: Configuration,
): Promise<readonly Finding[]> {
  const { compileTrustPolicy, parsePolicyDocument } = await import(
    '../../../authorization/language/policy-document.ts'
  );
  let statements: readonly CompiledStatement[];
  try {
    const trust = await trustPolicyIn(text);
    ({ statements } =
      trust === undefined
        ? parsePolicyDocument(text, realm, vocabulary)
        : compileTrustPolicy(trust, realm, vocabulary));
  } catch {
    return []; // It is refused, which the linter says.
  }
  const found: Finding[] = [];
  for (const { principals, effect, reference } of statements) {
    const users = [...principals.named]
      .filter((name) => /:(?:user|role)\//.test(name))
      .map(parsePrincipalArn)
      .filter((arn) => arn !== undefined);
    const attached = { name: '', principals: users, groups: [], denies: effect === 'Deny' };
    for (const finding of await findNobodies(attached, configuration))
      found.push({ ...finding, place: `Statement[${reference.index}].Principal` });
  }
  return found;
}

/** A document all of whose actions are those of STS, and which says to whom: who may assume a role. */
async function trustPolicyIn(text: string): Promise<JsonValue | undefined> {
  const { parsePolicyJson } = await import('../../../authorization/language/policy-json.ts');
  const { textsIn } = await import('../../../authorization/language/policy-statement.ts');
  try {
    const document = parsePolicyJson(text);
    const statement = document instanceof Map ? document.get('Statement') : undefined;
    const statements: readonly JsonValue[] = Array.isArray(statement) ? statement : [statement ?? null];
    const isOfTrust = (one: JsonValue): boolean => {
      if (!(one instanceof Map) || one.has('Resource')) return false;
      const actions = textsIn(one.get('Action'));
      return actions.length > 0 && actions.every((action) => /^sts:/i.test(action));
    };
    return statements.length > 0 && statements.every(isOfTrust) ? document : undefined;
  } catch {
    return undefined; // As a key policy it is refused, with the reason.
  }
}

/** The document in the file of an identity policy, or why the file is refused; `undefined` where it is no such file. */
async function identityPolicyIn(
  text: string,
  realm: Account,
  { vocabulary }: Knowledge,
): Promise<Finding | { readonly value: JsonValue; readonly attached: AttachedFile } | undefined> {
  const { parsePolicyJson } = await import('../../../authorization/language/policy-json.ts');
  const { IdentityPolicyError, parseIdentityPolicies } = await import('../../../authorization/identity-policies.ts');
  let file: JsonValue;
  try {
    file = parsePolicyJson(text);
  } catch {
    // As a key policy it is refused, with the reason.
    return undefined;
  }
  if (!(file instanceof Map) || !(file.has('PolicyDocument') || file.has('AttachedTo'))) return undefined;
  try {
    const options = { realm, vocabulary, idOfGroup: () => undefined };
    const [attached] = parseIdentityPolicies([{ name: 'the file', text }], options).files;
    return attached && { value: file.get('PolicyDocument') ?? null, attached };
  } catch (error) {
    if (!(error instanceof IdentityPolicyError)) throw error;
    return { severity: 'error', place: 'the file', problem: `it is refused: ${error.message}` };
  }
}
