import { type AnyNode, type Pattern, type Program, parse } from 'acorn';
import { full, fullAncestor } from 'acorn-walk';
import { EdgeBuildError } from './errors.ts';

/** Globals of runtime 2.0 (AWS, "JavaScript runtime 2.0 features"); a function may use these and what it declares itself. */
const GLOBALS = new Set(
  `Array ArrayBuffer Boolean Buffer DataView Date Error EvalError Infinity JSON Math NaN Number Object Promise RangeError
   ReferenceError RegExp String Symbol SyntaxError TextDecoder TextEncoder TypeError URIError Uint8Array Uint16Array
   Uint32Array Int8Array Int16Array Int32Array atob btoa console decodeURI decodeURIComponent encodeURI encodeURIComponent
   isFinite isNaN parseFloat parseInt undefined`.split(/\s+/),
);

/** Methods that runtime 2.0, or an njs that may be under it, does not have. */
const ABSENT_MEMBERS = new Set(
  `replaceAll bytesFrom matchAll at flat flatMap findLast findLastIndex toSorted toReversed toSpliced with hasOwn
   fromEntries raw timingSafeEqual subtle webcrypto allSettled any description eval constructor`.split(/\s+/),
);

const RUNTIME_MODULES = new Set(['cloudfront', 'crypto', 'querystring']);
const FUNCTIONS = new Set(['FunctionDeclaration', 'FunctionExpression', 'ArrowFunctionExpression']);
const CALLS = new Set(['CallExpression', 'NewExpression']);

/** Syntax that runtime 2.0 does not have or does not document, whatever stands in it. */
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
  ExportAllDeclaration: 'export',
  ImportExpression: 'import()',
  MetaProperty: 'import.meta or new.target',
  TaggedTemplateExpression: 'tagged template',
  WithStatement: 'with',
  ThisExpression: 'this',
};

/** What is wrong with a node, if anything. `ancestors` ends with the node itself. */
function offence(node: AnyNode, ancestors: AnyNode[], declared: Set<string>): string | undefined {
  const above = ancestors.slice(0, -1);
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
    case 'ArrowFunctionExpression': {
      if (node.generator) return 'generator';
      const isClosure = node.type !== 'FunctionDeclaration' || above.some(({ type }) => FUNCTIONS.has(type));
      return node.async && isClosure ? 'async closure' : undefined;
    }
    case 'AwaitExpression': {
      // Only within the same function: an argument may be a function that awaits, were there async closures.
      const own = above.slice(above.findLastIndex(({ type }) => FUNCTIONS.has(type)) + 1);
      return own.some(({ type }) => CALLS.has(type)) ? 'await as a call argument' : undefined;
    }
    case 'ImportDeclaration': {
      const fromRuntime = RUNTIME_MODULES.has(String(node.source.value));
      const onlyDefault = node.specifiers.every(({ type }) => type === 'ImportDefaultSpecifier');
      return fromRuntime && onlyDefault ? undefined : `import of '${node.source.value}' other than a runtime default`;
    }
    case 'ExportDefaultDeclaration': {
      const isAsync = 'async' in node.declaration && node.declaration.async;
      return isAsync ? 'asynchronous function before or after validation' : 'export';
    }
    case 'CallExpression': {
      const callee = node.callee.type === 'SequenceExpression' ? node.callee.expressions.at(-1) : node.callee;
      const isNumbered = callee?.type === 'MemberExpression' && callee.computed && callee.property.type === 'Literal';
      // njs 0.7.9 turns the number into text while it looks for the member, wherever else the function has that number.
      return isNumbered ? 'call of a member by its number' : undefined;
    }
    case 'Literal':
      if (node.bigint) return 'BigInt';
      if (node.regex && /[sudvy]/.test(node.regex.flags)) return `regular expression flag in /${node.regex.flags}`;
      return node.regex && /\(\?<[=!]/.test(node.regex.pattern) ? 'lookbehind in a regular expression' : undefined;
    case 'NewExpression':
      return node.callee.type === 'Identifier' && node.callee.name === 'RegExp' && node.arguments.length > 1
        ? 'flags of new RegExp, which cannot be checked'
        : undefined;
    case 'MemberExpression': {
      const { property, computed } = node;
      const literal = computed && property.type === 'Literal' ? property.value : undefined;
      const name = !computed && property.type === 'Identifier' ? property.name : literal;
      return typeof name === 'string' && ABSENT_MEMBERS.has(name) ? `.${name}` : undefined;
    }
    case 'Identifier':
      return isReference(node, above.at(-1)) && !declared.has(node.name) && !GLOBALS.has(node.name)
        ? `global '${node.name}'`
        : undefined;
    default:
      return ABSENT_SYNTAX[node.type];
  }
}

/** Whether an identifier stands for a variable, rather than being the name of a member or key. */
function isReference(node: AnyNode, parent: AnyNode | undefined): boolean {
  if (parent?.type === 'MemberExpression') return parent.object === node || parent.computed;
  if (parent?.type === 'Property') return parent.value === node;
  return (
    parent?.type !== 'LabeledStatement' && parent?.type !== 'BreakStatement' && parent?.type !== 'ContinueStatement'
  );
}

/** What a node declares: the patterns that name variables, functions, parameters or imports. */
function declarations(node: AnyNode): (Pattern | null | undefined)[] {
  switch (node.type) {
    case 'VariableDeclarator':
      return [node.id];
    case 'FunctionDeclaration':
    case 'FunctionExpression':
      return [...node.params, node.id];
    case 'ArrowFunctionExpression':
      return node.params;
    case 'CatchClause':
      return [node.param];
    case 'ImportDefaultSpecifier':
    case 'ImportSpecifier':
    case 'ImportNamespaceSpecifier':
      return [node.local];
    default:
      return [];
  }
}

/** Every name that the program declares, in any scope. */
function declaredNames(program: Program): Set<string> {
  const names = new Set<string>();
  full(program, (node) => {
    for (const pattern of declarations(node as AnyNode)) {
      const target = pattern?.type === 'RestElement' ? pattern.argument : pattern;
      if (target?.type === 'Identifier') names.add(target.name);
    }
  });
  return names;
}

/** What a module may have that is bundled into a function, and the function itself not. */
const MODULE_SYNTAX = /^(?:export$|import of )/;

/**
 * Throws `ERR_EDGE_DIALECT` with line and column of everything in `code` that CloudFront Functions runtime 2.0 does not
 * have or does not document, and when it does not parse at all. `module` is the path of a module that is yet to be
 * bundled: it may import and export.
 */
export function checkDialect(code: string, module?: string): void {
  const where = module ? `${module}: ` : '';
  let program: Program;
  try {
    program = parse(code, { ecmaVersion: 2023, sourceType: 'module', locations: true });
  } catch (error) {
    throw new EdgeBuildError('ERR_EDGE_DIALECT', `${where}the function does not parse: ${(error as Error).message}`);
  }
  const declared = declaredNames(program);
  const found = new Set<string>();
  fullAncestor(program, (node, _state, ancestors) => {
    const what = offence(node as AnyNode, ancestors as AnyNode[], declared);
    if (what && !(module && MODULE_SYNTAX.test(what)))
      found.add(`${what} at ${node.loc?.start.line}:${node.loc?.start.column}`);
  });
  if (found.size > 0) {
    throw new EdgeBuildError('ERR_EDGE_DIALECT', `${where}runtime 2.0 does not have: ${[...found].join('; ')}`);
  }
}
