import { type AnyNode, type Program, parse } from 'acorn';
import { ancestor } from 'acorn-walk';
import { EdgeBuildError } from './errors.ts';

/** Globals that runtime 2.0 does not have, or where they throw. */
const ABSENT_GLOBALS = new Set(
  `eval Function Map Set WeakMap WeakSet WeakRef BigInt Proxy Reflect Intl Atomics SharedArrayBuffer globalThis
   structuredClone fetch URL URLSearchParams performance process setImmediate setInterval queueMicrotask`.split(/\s+/),
);

/** Methods that runtime 2.0 or the njs around it does not have under that name. */
const ABSENT_MEMBERS = new Set(
  `replaceAll bytesFrom matchAll at flat flatMap findLast findLastIndex toSorted toReversed toSpliced with hasOwn
   fromEntries raw timingSafeEqual allSettled any description`.split(/\s+/),
);

const RUNTIME_MODULES = new Set(['cloudfront', 'crypto', 'querystring']);

/** Syntax that runtime 2.0 does not have or does not document (AWS, "JavaScript runtime 2.0 features"). */
const ABSENT_SYNTAX: Record<string, string> = {
  SpreadElement: 'spread',
  ObjectPattern: 'destructuring',
  ArrayPattern: 'destructuring',
  AssignmentPattern: 'default parameter',
  ForOfStatement: 'for-of',
  ClassDeclaration: 'class',
  ClassExpression: 'class',
  YieldExpression: 'generator',
  ChainExpression: '?.',
  ExportNamedDeclaration: 'export',
  ExportDefaultDeclaration: 'export',
  ExportAllDeclaration: 'export',
  ImportExpression: 'import()',
  MetaProperty: 'import.meta or new.target',
  TaggedTemplateExpression: 'tagged template',
  WithStatement: 'with',
};

function offence(node: AnyNode, ancestors: AnyNode[]): string | undefined {
  const parent = ancestors.at(-2);
  switch (node.type) {
    case 'CatchClause':
      return node.param ? undefined : 'optional catch binding';
    case 'LogicalExpression':
      return node.operator === '??' ? '??' : undefined;
    case 'AssignmentExpression':
      return ['??=', '||=', '&&='].includes(node.operator) ? node.operator : undefined;
    case 'Property':
      if (node.shorthand) return 'object shorthand';
      if (node.computed) return 'computed key';
      return node.method || node.kind !== 'init' ? 'method or accessor in an object literal' : undefined;
    case 'FunctionDeclaration':
    case 'FunctionExpression':
    case 'ArrowFunctionExpression':
      if (node.generator) return 'generator';
      return node.async && node.type !== 'FunctionDeclaration' ? 'async closure' : undefined;
    case 'AwaitExpression':
      return parent?.type === 'CallExpression' ? 'await as a call argument' : undefined;
    case 'ForInStatement':
    case 'ForStatement':
      return undefined;
    case 'ImportDeclaration': {
      const fromRuntime = RUNTIME_MODULES.has(String(node.source.value));
      const onlyDefault = node.specifiers.every(({ type }) => type === 'ImportDefaultSpecifier');
      return fromRuntime && onlyDefault ? undefined : `import of '${node.source.value}' other than a runtime default`;
    }
    case 'Literal':
      if (typeof node.value === 'bigint' || node.bigint) return 'BigInt';
      return node.regex && /[sudvy]/.test(node.regex.flags)
        ? `regular expression flag in /${node.regex.flags}`
        : undefined;
    case 'MemberExpression':
      return !node.computed && node.property.type === 'Identifier' && ABSENT_MEMBERS.has(node.property.name)
        ? `.${node.property.name}`
        : undefined;
    case 'Identifier':
      return ABSENT_GLOBALS.has(node.name) ? node.name : undefined;
    default:
      return ABSENT_SYNTAX[node.type];
  }
}

/**
 * Throws `ERR_EDGE_DIALECT` with line and column of everything in `code` that CloudFront Functions runtime 2.0 does not
 * have or does not document, and when it does not parse at all.
 */
export function checkDialect(code: string): void {
  let program: Program;
  try {
    program = parse(code, { ecmaVersion: 2023, sourceType: 'module', locations: true });
  } catch (error) {
    throw new EdgeBuildError('ERR_EDGE_DIALECT', `the function does not parse: ${(error as Error).message}`);
  }
  const found = new Set<string>();
  const visit = (node: AnyNode, _state: unknown, ancestors: AnyNode[]) => {
    const what = offence(node, ancestors);
    const start = node.loc?.start;
    if (what) found.add(`${what} at ${start?.line}:${start?.column}`);
  };
  const kinds = [...Object.keys(ABSENT_SYNTAX), ...CHECKED_KINDS];
  ancestor(program, Object.fromEntries(kinds.map((kind) => [kind, visit])));
  if (found.size > 0) {
    throw new EdgeBuildError('ERR_EDGE_DIALECT', `runtime 2.0 does not have: ${[...found].join('; ')}`);
  }
}

const CHECKED_KINDS = [
  'CatchClause',
  'LogicalExpression',
  'AssignmentExpression',
  'Property',
  'FunctionDeclaration',
  'FunctionExpression',
  'ArrowFunctionExpression',
  'AwaitExpression',
  'ImportDeclaration',
  'Literal',
  'MemberExpression',
  'Identifier',
];
