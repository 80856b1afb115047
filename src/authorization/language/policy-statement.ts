/**
 * One statement of a policy: which elements it may have, what their values must look like, and its compiled form.
 *
 * AWS checks when a policy is put that its principals exist. Here any ARN that could name an IAM principal is taken: users
 * of this account are the operating system's, who come and go without the daemon.
 *
 * Source: IAM user guide, "IAM JSON policy element reference"; KMS developer guide, "Key policies in AWS KMS",
 * "Elements in a key policy".
 */

import type {
  CompiledStatement,
  StatementPrincipals,
  StatementQuestion,
  StatementReference,
  StatementTest,
} from './compiled-statement.ts';
import { type Matcher, type PricedPart, patternParts } from './pattern-parts.ts';
import { parseConditionElement } from './policy-condition.ts';
import type { JsonObject, JsonValue } from './policy-json.ts';
import { isExcepted, parsePrincipalElement } from './policy-principal.ts';
import {
  malformed,
  objectAt,
  type ParseContext,
  type PolicyKind,
  quoted,
  type StatementContext,
  stringAt,
  stringsAt,
} from './policy-values.ts';
import {
  fixedParts,
  hasVariables,
  longestParts,
  parseTemplate,
  resolveTemplate,
  stepsToResolve,
  type Template,
} from './policy-variables.ts';
import { compileParts, compileWildcards, priceOfParts } from './wildcard.ts';
import { type Room, stepsPerLook, stepsPerPattern } from './work-budget.ts';

const elementNames = new Set([
  'Sid',
  'Effect',
  'Principal',
  'NotPrincipal',
  'Action',
  'NotAction',
  'Resource',
  'NotResource',
  'Condition',
]);

/**
 * Elements of which a statement has one or the other, and what follows when it has neither. A statement of a key policy
 * without an action or a resource is taken and has no effect, as the CreateKey and PutKeyPolicy pages of the AWS KMS API
 * reference have it. Whom an identity policy is about is said by its attachment, and which role a trust policy is about by its role.
 */
const alternatives = [
  { names: ['Principal', 'NotPrincipal'], ofKeys: 'required', ofPrincipals: 'forbidden', ofTrust: 'required' },
  { names: ['Action', 'NotAction'], ofKeys: 'optional', ofPrincipals: 'required', ofTrust: 'required' },
  { names: ['Resource', 'NotResource'], ofKeys: 'optional', ofPrincipals: 'required', ofTrust: 'forbidden' },
] as const;

const columns = {
  'key policy': 'ofKeys',
  'identity policy': 'ofPrincipals',
  'session policy': 'ofPrincipals',
  'trust policy': 'ofTrust',
} as const satisfies Record<PolicyKind, keyof (typeof alternatives)[number]>;

export interface StatementSource {
  readonly value: JsonValue;
  /** Its position in the document, from 0. */
  readonly index: number;
  /** For refusals: `Statement[0]`. */
  readonly place: string;
  /** The file of an identity policy. */
  readonly document?: string;
}

/** @throws KmsError MalformedPolicyDocumentException. */
export function compileStatement(source: StatementSource, context: ParseContext): CompiledStatement {
  const { place } = source;
  const statement = objectAt(place, source.value);
  assertElements(statement, place, context);
  const reference = parseReference(statement, source, context);
  const effect = parseEffect(`${place}.Effect`, statement.get('Effect') ?? null);
  const within: StatementContext = { ...context, effect };
  const { principals, excepted } = parsePrincipals(statement, place, within);
  const resources = parseResources(statement, place, within);
  const condition = statement.get('Condition');
  const tests: readonly StatementTest[] = [
    ...exceptionTests(excepted),
    ...(resources.test === undefined ? [] : [resources.test]),
    ...(condition === undefined ? [] : conditionTests(`${place}.Condition`, condition, within)),
  ];
  const holds = all(tests);
  const actions = parseActions(statement, place, context);
  return {
    reference,
    effect,
    principals,
    matchesAction: actions.matches,
    matchesResource: resources.matches,
    isOfEveryResource: resources.matches === matchesEverything,
    ...(holds === undefined ? {} : { holds }),
    tests,
    bytes: bytesOf(statement, principals, tests),
    steps: tests.reduce((sum, { steps }) => sum + steps, stepsPerLook + actions.steps + resources.steps),
  };
}

/** What each takes in memory at most: objects, closures, sets and, of patterns, one element for each character. */
const bytesPer = { statement: 1600, test: 1300, name: 160, text: 200, pattern: 1000, patternCharacter: 100 };

function bytesOf(statement: JsonObject, { named }: StatementPrincipals, tests: readonly StatementTest[]): number {
  const patterns = ['Action', 'NotAction', 'Resource', 'NotResource'].flatMap((name) => textsIn(statement.get(name)));
  const ofTexts = (texts: readonly string[], isArn = false): number =>
    texts.reduce((sum, text) => {
      const isPattern = isArn || /[*?$]/.test(text);
      return (
        sum + (isPattern ? bytesPer.pattern + text.length * bytesPer.patternCharacter : bytesPer.text + text.length)
      );
    }, 0);
  return tests.reduce(
    (sum, { expected, operator }) => sum + bytesPer.test + ofTexts(expected, operator?.includes('Arn')),
    bytesPer.statement + named.size * bytesPer.name + ofTexts(patterns),
  );
}

/** The texts of an element that is one or a list of them, or is not there. */
export function textsIn(value: JsonValue | undefined): readonly string[] {
  if (typeof value === 'string') return [value];
  return Array.isArray(value) ? value.filter((item: JsonValue) => typeof item === 'string') : [];
}

type RequestTest = (question: StatementQuestion) => boolean;

function all(tests: readonly StatementTest[]): RequestTest | undefined {
  const present = tests.map(({ holds }) => holds);
  const [only] = present;
  return present.length < 2 ? only : (question) => present.every((test) => test(question));
}

function exceptionTests(excepted: StatementPrincipals | undefined): readonly StatementTest[] {
  if (excepted === undefined) return [];
  const expected = excepted.anyone ? ['*'] : [...(excepted.account ? ['the account'] : []), ...excepted.named];
  const holds: RequestTest = (question) => !isExcepted(excepted, question);
  return [{ element: 'NotPrincipal', expected, holds, steps: stepsPerLook }];
}

function conditionTests(place: string, value: JsonValue, context: StatementContext): readonly StatementTest[] {
  return parseConditionElement(place, value, context).map(({ holds, ...test }) => ({
    ...test,
    element: 'Condition',
    holds: (question) => holds(question.context),
  }));
}

function assertElements(statement: JsonObject, place: string, { kind }: ParseContext): void {
  for (const name of statement.keys()) {
    if (!elementNames.has(name)) throw malformed(place, `${JSON.stringify(name)} is not an element of a statement`);
  }
  if (!statement.has('Effect')) throw malformed(place, 'the element Effect is missing');
  for (const { names, [columns[kind]]: presence } of alternatives) {
    const [present, second] = names.filter((name) => statement.has(name));
    if (second !== undefined) throw malformed(place, `it cannot have both ${present} and ${second}`);
    if (present === undefined && presence === 'required') throw malformed(place, `the element ${names[0]} is missing`);
    if (present !== undefined && presence === 'forbidden') {
      throw malformed(place, `${whyForbidden[kind]} has no element ${present}: it is about ${whatItIsAbout[kind]}`);
    }
  }
}

const whyForbidden: Record<PolicyKind, string> = {
  'key policy': 'a key policy',
  'identity policy': 'an identity policy',
  'session policy': 'a session policy',
  'trust policy': 'a trust policy',
};
const whatItIsAbout: Record<PolicyKind, string> = {
  'key policy': 'its key',
  'identity policy': 'those to whom it is attached',
  'session policy': 'its session',
  'trust policy': 'its role',
};

/** IAM takes letters and digits as a Sid; key policies may have spaces and more in it. */
function parseReference(
  statement: JsonObject,
  { place, index, document }: StatementSource,
  { kind }: ParseContext,
): StatementReference {
  const ofDocument = document === undefined ? { index } : { index, document };
  const within = kind === 'session policy' || kind === 'trust policy' ? { ...ofDocument, kind } : ofDocument;
  if (!statement.has('Sid')) return within;
  const sid = stringAt(`${place}.Sid`, statement.get('Sid') ?? null);
  if (kind !== 'key policy' && !/^[A-Za-z0-9]*$/.test(sid)) {
    throw malformed(`${place}.Sid`, 'it must consist of letters and digits');
  }
  return { ...within, sid };
}

function parseEffect(place: string, value: JsonValue): 'Allow' | 'Deny' {
  if (value === 'Allow' || value === 'Deny') return value;
  throw malformed(place, 'it must be "Allow" or "Deny"');
}

const everybody: StatementPrincipals = { anyone: true, account: false, named: new Set() };

function parsePrincipals(
  statement: JsonObject,
  place: string,
  { realm, effect }: StatementContext,
): { readonly principals: StatementPrincipals; readonly excepted?: StatementPrincipals } {
  const element = statement.get('Principal');
  if (element !== undefined) return { principals: parsePrincipalElement(`${place}.Principal`, element, realm) };
  const exceptions = statement.get('NotPrincipal');
  if (exceptions === undefined) return { principals: everybody };
  if (effect === 'Allow') {
    throw malformed(
      place,
      'NotPrincipal can only be used with the effect Deny: with Allow it would let in everybody else',
    );
  }
  return { principals: everybody, excepted: parsePrincipalElement(`${place}.NotPrincipal`, exceptions, realm) };
}

/** `*`, or a service's prefix and a name, in both of which wildcards may stand. */
const actionPattern = /^(?:\*|[A-Za-z0-9*?-]+:[A-Za-z0-9*?]+)$/;

const matchesNothing: Matcher = () => false;
const matchesEverything: Matcher = () => true;

/** The longest names of operations, and the ARN of the longest alias. */
const actionRoom: Room = { values: 1, characters: 64 };
const resourceRoom: Room = { values: 1, characters: 384 };

interface Actions {
  readonly matches: Matcher;
  /** What it takes at most to select the statement for an action, or not. */
  readonly steps: number;
}

function parseActions(statement: JsonObject, place: string, { kind }: ParseContext): Actions {
  const { name, value } = oneOf(statement, 'Action', 'NotAction');
  if (value === undefined) return { matches: matchesNothing, steps: 0 };
  const patterns = stringsAt(`${place}.${name}`, value);
  for (const pattern of patterns) {
    if (!actionPattern.test(pattern)) {
      throw malformed(`${place}.${name}`, `${quoted(pattern)} is not an action such as "kms:Encrypt", "kms:*" or "*"`);
    }
    // IAM's rule, and its words.
    if (kind === 'trust policy' && !/^sts:/i.test(pattern)) {
      throw malformed(`${place}.${name}`, 'AssumeRole policy may only specify STS AssumeRole actions');
    }
  }
  const matches = compileWildcards(patterns.map((pattern) => pattern.toLowerCase()));
  const steps = stepsToTry(patterns.map(patternParts), actionRoom);
  return name === 'Action' ? { matches, steps } : { matches: (action) => !matches(action), steps };
}

/** One after the other. */
function stepsToTry(patterns: readonly (readonly PricedPart[])[], room: Room, segments?: 'arn'): number {
  return patterns.reduce((sum, parts) => sum + stepsPerPattern + priceOfParts(parts, segments)(room), 0);
}

interface Resources {
  readonly matches: Matcher;
  /** What it takes at most to select the statement for a resource, or not. */
  readonly steps: number;
  /** Where the patterns have variables: whether one of them matches in this request. */
  readonly test?: StatementTest;
}

function parseResources(statement: JsonObject, place: string, context: StatementContext): Resources {
  const { name, value } = oneOf(statement, 'Resource', 'NotResource');
  // A trust policy has no other resource than its role.
  if (context.kind === 'trust policy') return { matches: matchesEverything, steps: 0 };
  if (value === undefined) return { matches: matchesNothing, steps: 0 };
  const isNegated = name === 'NotResource';
  const patterns = stringsAt(`${place}.${name}`, value);
  const templates = patterns.map((pattern) => {
    // A Deny whose resource is no ARN would be a silent no-op.
    if (pattern !== '*' && !pattern.startsWith('arn:')) {
      throw malformed(`${place}.${name}`, `Resource ${quoted(pattern)} must be in ARN format or "*"`);
    }
    return parseTemplate(`${place}.${name}`, pattern, true, context);
  });
  const variable = templates.filter(hasVariables);
  const fixed = templates.filter((template) => !hasVariables(template));
  const matchers = fixed.map((template) => compileParts(fixedParts(template), 'arn'));
  const matchesFixed: Matcher = (resource, budget) => matchers.some((matches) => matches(resource, budget));
  const steps = stepsToTry(fixed.map(fixedParts), resourceRoom, 'arn');
  if (variable.length === 0) {
    if (!isNegated && patterns.includes('*')) return { matches: matchesEverything, steps };
    return { matches: isNegated ? (resource) => !matchesFixed(resource) : matchesFixed, steps };
  }
  const holds: RequestTest = ({ resource, context: values }) => {
    values.spend(matchers.length * stepsPerLook);
    if (matchesFixed(resource, values)) return !isNegated;
    const resolved = variable.map((template) => resolveTemplate(template, values));
    if (resolved.some((parts) => parts !== undefined && compileParts(parts, 'arn')(resource, values)))
      return !isNegated;
    // An exception that cannot be told in this request never lets more through.
    return isNegated && (context.effect === 'Deny' || resolved.every((parts) => parts !== undefined));
  };
  const ofTest = matchers.length * stepsPerLook + steps + stepsToResolveAndTry(variable);
  return { matches: matchesEverything, steps: 0, test: { element: name, expected: patterns, holds, steps: ofTest } };
}

function stepsToResolveAndTry(templates: readonly Template[]): number {
  return templates.reduce(
    (sum, template) => sum + stepsToResolve(template),
    stepsToTry(templates.map(longestParts), resourceRoom, 'arn'),
  );
}

function oneOf<const Name extends string>(
  statement: JsonObject,
  ...names: readonly [Name, Name]
): { readonly name: Name; readonly value: JsonValue | undefined } {
  const name = statement.has(names[1]) ? names[1] : names[0];
  return { name, value: statement.get(name) };
}
