/**
 * What is wrong with a policy that is valid: statements that never match, elements whose absence makes them silent
 * no-ops, access for everybody, and keys that nobody could manage any more.
 *
 * A document that would be refused has one finding, the refusal. Everything else is taken by the daemon and means what
 * the findings say; they are about what a writer most likely did not mean. Nothing is found twice, and nothing is found
 * that depends on requests to come: a finding is true whatever they are.
 *
 * Source: IAM user guide, "IAM Access Analyzer policy check reference"; KMS developer guide, "Troubleshooting AWS KMS
 * permissions", "Default key policy" (lockout).
 */

import { KmsError } from '../../kms/errors.ts';
import type { CompiledPolicy } from '../language/compiled-policy.ts';
import type { CompiledStatement } from '../language/compiled-statement.ts';
import { compileIdentityPolicy, compileTrustPolicy, parsePolicyDocument } from '../language/policy-document.ts';
import { type JsonObject, type JsonValue, parsePolicyJson } from '../language/policy-json.ts';
import { textsIn } from '../language/policy-statement.ts';
import { compileWildcard } from '../language/wildcard.ts';
import { assertAffordable } from '../worst-case.ts';
import { lintConditions, neverHolds } from './lint-conditions.ts';
import type { Finding, KnownAction, LintedStatement, LintOptions } from './linted-statement.ts';

/** @param value The document: of a key policy its text, of others what their file says. */
export function lintPolicy(value: string | JsonValue, options: LintOptions): readonly Finding[] {
  let compiled: CompiledPolicy;
  let document: JsonValue;
  try {
    document = typeof value === 'string' ? parsePolicyJson(value) : value;
    compiled = compile(value, options);
  } catch (error) {
    if (!(error instanceof KmsError)) throw error;
    return [{ severity: 'error', place: 'Policy', problem: `it is refused: ${error.message}` }];
  }
  const statements = compiled.statements.map((statement, index): LintedStatement => {
    const actions = options.actions.filter(({ action }) => statement.matchesAction(action.toLowerCase()));
    return { place: `Statement[${index}]`, written: statementAt(document, index), compiled: statement, actions };
  });
  return [
    ...statements.flatMap((statement) => [
      ...lintElements(statement, options),
      ...lintPrincipals(statement, options),
      ...(canHold(statement, options) && !isShadowed(statement, statements, options) ? lintPublic(statement) : []),
      ...lintConditions(statement, options),
      ...lintVariables(statement, document),
    ]),
    ...statements.flatMap((statement) => lintShadow(statement, statements, options)),
    ...lintSids(statements),
    ...(options.kind === 'key policy' ? lintLockout(statements) : []),
  ];
}

function compile(value: string | JsonValue, { kind, realm, vocabulary }: LintOptions): CompiledPolicy {
  const compileAs = {
    'identity policy': () => compileIdentityPolicy(value, 'the file', realm, vocabulary),
    'trust policy': () => compileTrustPolicy(value, realm, vocabulary),
    'key policy': () => parsePolicyDocument(typeof value === 'string' ? value : '', realm, vocabulary),
  };
  const policy = compileAs[kind]();
  assertAffordable(policy);
  return policy;
}

function statementAt(document: JsonValue, index: number): JsonObject {
  // Safe: a policy that compiled is an object whose statements are objects.
  const statements = (document as JsonObject).get('Statement') as JsonValue;
  return (Array.isArray(statements) ? statements[index] : statements) as JsonObject;
}

const warning = (place: string, problem: string): Finding => ({ severity: 'warning', place, problem });

/** What a statement without effect costs: a Deny that never matches is worse than an Allow. */
function inVain({ effect }: CompiledStatement): string {
  return effect === 'Deny' ? 'it denies nothing' : 'it allows nothing';
}

function lintElements(statement: LintedStatement, options: LintOptions): readonly Finding[] {
  const { place, written, compiled } = statement;
  // It has an action, and no resource but its role.
  if (options.kind === 'trust policy') return lintActions(statement, options);
  const missing = [
    ['Action', 'NotAction'],
    ['Resource', 'NotResource'],
  ].filter((names) => !names.some((name) => written.has(name)));
  if (missing.length > 0) {
    const names = missing.map(([name]) => name).join(' and ');
    return [warning(place, `without ${names} the statement never matches: ${inVain(compiled)}`)];
  }
  return [...lintActions(statement, options), ...lintResources(statement, options)];
}

/** Can there be a request, of whomever, for which it holds? */
function canHold(statement: LintedStatement, options: LintOptions): boolean {
  const { written, compiled, actions } = statement;
  const { kind } = options;
  if (!actions.some(({ isOnKey }) => isOnKey || kind !== 'key policy')) return false;
  if (kind === 'trust policy') return !compiled.tests.some((test) => neverHolds(test, statement, options));
  if (!written.has('Resource') && !written.has('NotResource')) return false;
  const resources = textsIn(written.get('Resource'));
  if (resources.length > 0 && lintResources(statement, options).length === resources.length) return false;
  return !compiled.tests.some((test) => neverHolds(test, statement, options));
}

function lintActions({ place, written, actions: own }: LintedStatement, options: LintOptions): readonly Finding[] {
  const { actions, kind } = options;
  const name = written.has('Action') ? 'Action' : 'NotAction';
  return textsIn(written.get(name)).flatMap((pattern) => {
    const matches = compileWildcard(pattern.toLowerCase());
    const matching = actions.filter(({ action }) => matches(action.toLowerCase()));
    const where = `${place}.${name}`;
    // An identity policy of AWS is about many services; a statement that is about this one too is meant as it is.
    const isOfOther = kind === 'identity policy' && own.length > 0 && !/^(?:kms|drawbridge):/i.test(pattern);
    if (matching.length === 0 && isOfOther) return [];
    const service = kind === 'trust policy' ? 'is no action that can be had here' : 'is no action of AWS KMS';
    if (matching.length === 0) return [warning(where, `"${pattern}" ${service} and never matches`)];
    if (kind !== 'key policy' || matching.some(({ isOnKey }) => isOnKey)) return [];
    return [warning(where, `"${pattern}" is on no key: a key policy is never asked about it, an identity policy is`)];
  });
}

const anyKeyId = '00000000-0000-0000-0000-000000000000';

function lintResources({ place, written, actions }: LintedStatement, options: LintOptions): readonly Finding[] {
  const name = written.has('Resource') ? 'Resource' : 'NotResource';
  const { realm, kind, keyArn } = options;
  return textsIn(written.get(name)).flatMap((pattern) => {
    // What a policy variable stands for is not known.
    if (pattern === '*' || pattern.includes('${')) return [];
    const matches = compileWildcard(pattern, 'arn');
    // Roles are what sts:AssumeRole is about, and whether there is one is for SIGHUP to change.
    const isOfRole = pattern.startsWith(`arn:aws:iam::${realm.account}:role/`);
    if (kind === 'identity policy' && isOfRole && actions.some(({ action }) => action.startsWith('sts:'))) return [];
    const where = `${place}.${name}`;
    if (keyArn !== undefined && kind === 'key policy') {
      return matches(keyArn) ? [] : [warning(where, `"${pattern}" is not this key, and the policy is about no other`)];
    }
    const written = pattern.split(':').slice(5).join(':').replaceAll('*', '').replaceAll('?', 'a');
    const kinds = kind === 'key policy' ? ['key/'] : ['key/', 'alias/'];
    const samples = [`key/${anyKeyId}`, ...kinds.filter((start) => written.startsWith(start)).map(() => written)];
    const arn = (resource: string): string => `arn:aws:kms:${realm.region}:${realm.account}:${resource}`;
    if (samples.some((resource) => matches(arn(resource)))) return [];
    const what = kind === 'key policy' ? 'no key' : 'no key and no alias';
    return [warning(where, `"${pattern}" is ${what} of account ${realm.account} in ${realm.region} and never matches`)];
  });
}

/** Condition keys that say who calls, and those among them that nobody can choose for himself. */
const sayWho = new Set([
  'aws:PrincipalArn',
  'aws:username',
  'aws:userid',
  'drawbridge:UnixUser',
  'drawbridge:UnixGroup',
  'drawbridge:SystemdUnit',
  // Only principals that the configuration names as a service have it.
  'kms:ViaService',
]);

function lintPrincipals({ place, written }: LintedStatement, { kind, realm }: LintOptions): readonly Finding[] {
  if (kind === 'identity policy') return [];
  const findings: Finding[] = [];
  const element = written.get('Principal');
  if (element instanceof Map) {
    for (const service of textsIn(element.get('Service'))) {
      findings.push(warning(`${place}.Principal`, `"${service}" never matches: no AWS service calls this daemon`));
    }
    for (const name of textsIn(element.get('AWS'))) {
      const account = name.startsWith('arn:') ? name.split(':')[4] : name;
      if (name !== '*' && account !== realm.account) {
        findings.push(warning(`${place}.Principal`, `"${name}" never matches: nobody of another account calls here`));
      }
    }
  }
  return findings;
}

function lintPublic({ place, compiled }: LintedStatement): readonly Finding[] {
  const { reference, effect, principals, tests } = compiled;
  // Whom an identity policy is about is said by its attachment.
  if (effect !== 'Allow' || !principals.anyone || reference.document !== undefined) return [];
  const isNarrow = tests.some(
    ({ key, operator = '', expected }) =>
      key !== undefined &&
      sayWho.has(key.name) &&
      !/Not|IfExists|^Null$|^ForAll/.test(operator) &&
      !expected.some((text) => /^[*:]*$/.test(text)),
  );
  if (isNarrow) return [];
  const problem = tests.length === 0 ? '' : ', because no condition says who';
  return [warning(`${place}.Principal`, `public: everybody who can connect is allowed${problem}`)];
}

function lintVariables({ place, written }: LintedStatement, document: JsonValue): readonly Finding[] {
  // Safe: a policy that compiled is an object.
  if ((document as JsonObject).get('Version') === '2012-10-17' || !hasVariable(written)) return [];
  return [warning(place, 'policy variables are text here, because the document lacks `"Version": "2012-10-17"`')];
}

function hasVariable(value: JsonValue): boolean {
  if (typeof value === 'string') return /\$\{[^}]*\}/.test(value);
  if (value instanceof Map) return [...value.values()].some(hasVariable);
  return Array.isArray(value) && value.some(hasVariable);
}

function lintShadow(
  statement: LintedStatement,
  all: readonly LintedStatement[],
  options: LintOptions,
): readonly Finding[] {
  if (!isShadowed(statement, all, options)) return [];
  return [warning(statement.place, 'it allows nothing: all of it is denied by other statements')];
}

/** Is it an Allow of which a Deny without conditions leaves nothing? */
function isShadowed(
  { compiled, actions }: LintedStatement,
  all: readonly LintedStatement[],
  { keyArn, realm }: LintOptions,
): boolean {
  const { effect, principals } = compiled;
  if (effect !== 'Allow' || actions.length === 0) return false;
  const resource = keyArn ?? `arn:aws:kms:${realm.region}:${realm.account}:key/${anyKeyId}`;
  const denies = all
    .map((statement) => statement.compiled)
    .filter((deny) => deny.effect === 'Deny' && deny.tests.length === 0 && deny.matchesResource(resource));
  const isDenied = ({ action }: KnownAction, named: string | undefined): boolean =>
    denies.some(({ principals: those, matchesAction }) => {
      const covers =
        those.anyone || (!principals.anyone && (those.account || (named !== undefined && those.named.has(named))));
      return covers && matchesAction(action.toLowerCase());
    });
  const who = principals.anyone || principals.account ? [undefined, ...principals.named] : [...principals.named];
  return who.length > 0 && actions.every((action) => who.every((named) => isDenied(action, named)));
}

function lintSids(statements: readonly LintedStatement[]): readonly Finding[] {
  const seen = new Set<string>();
  return statements.flatMap(({ place, compiled }) => {
    const { sid = '' } = compiled.reference;
    if (sid === '' || !seen.has(sid)) {
      seen.add(sid);
      return [];
    }
    return [warning(`${place}.Sid`, `${JSON.stringify(sid)} is there twice: decisions that name it are ambiguous`)];
  });
}

const managing = 'kms:putkeypolicy';

function lintLockout(statements: readonly LintedStatement[]): readonly Finding[] {
  const about = statements.filter(({ compiled }) => compiled.matchesAction(managing)).map(({ compiled }) => compiled);
  const denial = about.find(
    ({ effect, principals, tests }) =>
      effect === 'Deny' && tests.length === 0 && (principals.anyone || principals.account),
  );
  if (denial !== undefined) {
    const place = `Statement[${denial.reference.index}]`;
    return [{ severity: 'error', place, problem: 'lockout: nobody may put another policy on the key' }];
  }
  const allows = about.filter(({ effect, principals }) => effect === 'Allow' && hasAnybody(principals));
  if (allows.length === 0) {
    const problem = 'lockout: no statement allows anybody kms:PutKeyPolicy';
    return [{ severity: 'error', place: 'Policy', problem }];
  }
  if (allows.some(({ principals }) => principals.anyone || principals.account)) return [];
  const named = [...new Set(allows.flatMap(({ principals }) => [...principals.named]))].join(', ');
  return [
    warning(
      'Policy',
      `the account's root may not change the policy: without ${named} the key cannot be managed any more`,
    ),
  ];
}

function hasAnybody({ anyone, account, named }: CompiledStatement['principals']): boolean {
  return anyone || account || named.size > 0;
}
