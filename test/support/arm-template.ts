import { createHash } from 'node:crypto';

/** What a template is deployed with. */
export interface Deployment {
  readonly parameters: Readonly<Record<string, unknown>>;
  /** What `reference()` answers, by resource id. */
  readonly reference: (id: string) => unknown;
}

const SUBSCRIPTION = '/subscriptions/00000000-0000-0000-0000-000000000001';
const GROUP = `${SUBSCRIPTION}/resourceGroups/group`;

type Scope = Deployment & { readonly variables: Readonly<Record<string, unknown>> };

/**
 * The resources of an Azure Resource Manager template as they are deployed, with every expression evaluated; members
 * that are null are left out. Knows the functions that the project's template uses, and throws at every other.
 * Source: learn.microsoft.com/azure/azure-resource-manager/templates/template-functions
 */
export function deployedResources(template: Template, deployment: Deployment): Record<string, unknown>[] {
  const parameters = { ...defaultsOf(template, deployment), ...deployment.parameters };
  const scope = { ...deployment, parameters, variables: template.variables };
  return template.resources.map((resource) => {
    const value = evaluate(resource, scope);
    if (!isRecord(value)) throw new Error('a resource is not an object');
    return value;
  });
}

export interface Template {
  readonly parameters: Readonly<Record<string, { readonly defaultValue?: unknown }>>;
  readonly variables: Readonly<Record<string, unknown>>;
  readonly resources: readonly unknown[];
}

function defaultsOf(template: Template, deployment: Deployment): Record<string, unknown> {
  const scope = { ...deployment, variables: {} };
  const defaults = Object.entries(template.parameters).filter(
    ([, { defaultValue }]) => defaultValue !== undefined,
  );
  return Object.fromEntries(
    defaults.map(([name, { defaultValue }]) => [name, evaluate(defaultValue, scope)]),
  );
}

/** `TYPE` and names to an id in the resource group of the deployment. */
export function resourceId(type: string, ...names: readonly string[]): string {
  return `${GROUP}${extension(type, names)}`;
}

function extension(type: string, names: readonly string[]): string {
  const [provider = '', ...kinds] = type.split('/');
  if (kinds.length !== names.length)
    throw new Error(`${type} takes ${kinds.length} names, not ${names.length}`);
  return `/providers/${provider}${kinds.map((kind, index) => `/${kind}/${names[index]}`).join('')}`;
}

function evaluate(value: unknown, scope: Scope): unknown {
  if (typeof value === 'string' && value.startsWith('[') && value.endsWith(']')) {
    return evaluateExpression(value.slice(1, -1), scope);
  }
  if (Array.isArray(value)) return value.map((item) => evaluate(item, scope));
  if (!isRecord(value)) return value;
  const members = Object.entries(value).map(([key, member]) => [
    evaluate(key, scope),
    evaluate(member, scope),
  ]);
  return Object.fromEntries(members.filter(([, member]) => member !== null));
}

const TOKEN = /'(?:[^']|'')*'|[A-Za-z]\w*|[(),.]|\S/g;

/** EXPRESSION = text | NAME ( EXPRESSION, … ) .member … */
function evaluateExpression(text: string, scope: Scope): unknown {
  const tokens = text.match(TOKEN) ?? [];
  let at = 0;
  const take = (expected?: string) => {
    const token = tokens[at++];
    if (token === undefined || (expected !== undefined && token !== expected))
      throw new Error(`${text}: ${expected ?? 'more'} expected, found ${token ?? 'the end'}`);
    return token;
  };
  const parse = (): unknown => {
    const token = take();
    if (token.startsWith("'")) return token.slice(1, -1).replaceAll("''", "'");
    take('(');
    const values: unknown[] = [];
    while (tokens[at] !== ')') {
      if (values.length > 0) take(',');
      values.push(parse());
    }
    take(')');
    let result = call(token, values, scope);
    while (tokens[at] === '.') {
      take('.');
      const member = take();
      if (!isRecord(result) || !Object.hasOwn(result, member))
        throw new Error(`${text}: there is no ${member}`);
      result = result[member];
    }
    return result;
  };
  const result = parse();
  if (at < tokens.length) throw new Error(`${text}: what is ${tokens[at]}?`);
  return result;
}

function call(name: string, values: readonly unknown[], scope: Scope): unknown {
  const texts = () =>
    values.map((value) => {
      if (typeof value !== 'string')
        throw new Error(`${name}() was given ${JSON.stringify(value)}, not text`);
      return value;
    });
  const [first = '', second = '', third = ''] = values.map(String);
  switch (name) {
    case 'parameters':
      return member(scope.parameters, first, 'parameter');
    case 'variables':
      return evaluate(member(scope.variables, first, 'variable'), scope);
    case 'reference':
      return scope.reference(first);
    case 'resourceGroup':
      return { id: GROUP, location: 'westeurope' };
    case 'resourceId':
      return resourceId(first, ...texts().slice(1));
    case 'subscriptionResourceId':
      return `${SUBSCRIPTION}${extension(first, texts().slice(1))}`;
    case 'extensionResourceId':
      return `${first}${extension(second, texts().slice(2))}`;
    case 'concat':
      return texts().join('');
    case 'toLower':
      return first.toLowerCase();
    case 'replace':
      return first.replaceAll(second, third);
    case 'base64':
      return Buffer.from(first).toString('base64');
    case 'json':
      return JSON.parse(first);
    case 'uniqueString':
    case 'guid':
      return createHash('sha256').update(JSON.stringify(values)).digest('hex').slice(0, 13);
    case 'equals':
      return values[0] === values[1];
    case 'if':
      return values[0] === true ? values[1] : values[2];
    case 'createObject':
      return Object.fromEntries(
        values.flatMap((key, index) => (index % 2 === 0 ? [[key, values[index + 1]]] : [])),
      );
    case 'true':
      return true;
    case 'null':
      return null;
    default:
      throw new Error(`${name}() is not known`);
  }
}

function member(values: Readonly<Record<string, unknown>>, name: string, what: string): unknown {
  if (!Object.hasOwn(values, name)) throw new Error(`there is no ${what} ${name}`);
  return values[name];
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
